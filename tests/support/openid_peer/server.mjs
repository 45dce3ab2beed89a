// oidc-provider with a client that has a secret, one that signs with a key, one that must sign with its secret, and one
// that must push its requests, and one for devices; whoever `login_hint` names signs in and agrees, and `deny` refuses.
import http from 'node:http';
import { randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const client = { client_id: 'peer-client', client_secret: randomBytes(24).toString('base64url') };
const signing = {
  client_id: 'peer-signing-client',
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [JSON.parse(process.argv[3])] },
};
const secretSigning = {
  client_id: 'peer-secret-signing-client',
  client_secret: randomBytes(32).toString('base64url'),
  token_endpoint_auth_method: 'client_secret_jwt',
};
const pushing = {
  client_id: 'peer-pushing-client',
  client_secret: client.client_secret,
  require_pushed_authorization_requests: true,
};
const device = {
  client_id: 'peer-device-client',
  token_endpoint_auth_method: 'none',
  grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
  response_types: [],
  redirect_uris: [],
};
const server = http.createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client, signing, secretSigning, pushing, device].map((each) => ({
      redirect_uris: [process.argv[2]],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      ...each,
    })),
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      pushedAuthorizationRequests: { enabled: true },
      revocation: { enabled: true },
      deviceFlow: { enabled: true },
    },
    claims: { openid: ['sub'], email: ['email'] },
    scopes: ['openid', 'email', 'offline_access'],
    issueRefreshToken: async () => true,
    rotateRefreshToken: () => true,
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid email offline_access');
      await grant.save();
      return grant;
    },
  });
  const answer = provider.callback();
  server.on('request', async (request, response) => {
    if (!request.url.startsWith('/interaction/')) return answer(request, response);
    const { params } = await provider.interactionDetails(request, response);
    const result = params.login_hint === 'deny'
      ? { error: 'access_denied', error_description: 'the user refused' }
      : { login: { accountId: params.login_hint ?? 'ann' }, consent: {} };
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  });
  console.log(JSON.stringify({
    issuer,
    ...client,
    signing_client_id: signing.client_id,
    secret_signing_client_id: secretSigning.client_id,
    signing_secret: secretSigning.client_secret,
    pushing_client_id: pushing.client_id,
    device_client_id: device.client_id,
  }));
});
