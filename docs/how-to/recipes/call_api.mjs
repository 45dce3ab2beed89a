// Calls an API with an account's access token: node call_api.mjs TENANT PROVIDER URL
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const EARLY = 60_000; // ask again a minute before a token expires
const RECONNECT = 9; // the exit code if the user must connect the account again
const held = new Map();

/** Returns { headers, expires_at, extra, ... } of an account; a token is kept until it nearly expires. */
export async function accessToken(tenant, provider, identifier = "") {
  const key = JSON.stringify([tenant, provider, identifier]);
  const kept = held.get(key);
  if (kept?.expires_at && Date.parse(kept.expires_at) - EARLY > Date.now()) return kept;
  const { stdout } = await run("token-vault", ["token", `--identifier=${identifier}`, "--", tenant, provider]).catch(
    ({ code }) => {
      throw new Error(code === RECONNECT ? "connect the account again" : `token-vault ended with ${code}`);
    },
  );
  const answer = JSON.parse(stdout);
  if (Object.keys(answer.headers).length === 0) throw new Error("this token needs a proof with each request");
  held.set(key, answer);
  return answer;
}

/** Calls a URL of the account's API; a redirect is an error, because it could lead the token to another host. */
export async function callApi(url, tenant, provider, identifier) {
  const { headers } = await accessToken(tenant, provider, identifier);
  return fetch(url, { headers, redirect: "error" });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [tenant, provider, url] = process.argv.slice(2);
  const response = await callApi(url, tenant, provider);
  console.log(response.status, await response.text());
}
