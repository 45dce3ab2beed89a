// Calls an API with an account's access token: go run call_api.go TENANT PROVIDER URL
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// Token is the output of `token-vault token`.
type Token struct {
	Headers   map[string]string `json:"headers"`
	ExpiresAt *time.Time        `json:"expires_at"`
	Extra     map[string]string `json:"extra"`
}

// ErrReconnect says that the user must connect the account again.
var ErrReconnect = errors.New("connect the account again")

const reconnect = 9 // the exit code of ErrReconnect

// AccessToken asks the vault for an account's token, which is refreshed if it is due. Keep it until ExpiresAt is near.
func AccessToken(ctx context.Context, tenant, provider, identifier string) (*Token, error) {
	output, err := exec.CommandContext(
		ctx, "token-vault", "token", "--identifier="+identifier, "--", tenant, provider).Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == reconnect {
		return nil, ErrReconnect
	}
	if err != nil {
		return nil, fmt.Errorf("token-vault: %w", err)
	}
	token := new(Token)
	if err := json.Unmarshal(output, token); err != nil {
		return nil, errors.New("token-vault wrote no JSON") // err could repeat the output
	}
	if len(token.Headers) == 0 {
		return nil, errors.New("this token needs a proof with each request")
	}
	return token, nil
}

func main() {
	token, err := AccessToken(context.Background(), os.Args[1], os.Args[2], "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	request, err := http.NewRequest(http.MethodGet, os.Args[3], nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for name, value := range token.Headers {
		request.Header.Set(name, value)
	}
	// A redirect is not followed, because it could lead the token to another host.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer response.Body.Close()
	io.Copy(os.Stdout, response.Body)
}
