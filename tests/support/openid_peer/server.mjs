// oidc-provider with a client that has a secret, one that signs with a key, one that must sign with its secret, and one
// that must push its requests, one for devices, and two public ones whose tokens are bound to a key (DPoP), with nonces;
// `/counts` tells how many refreshes succeeded and failed. With TLS, two more clients authenticate by a certificate, at a
// second port that demands one. Whoever `login_hint` names signs in and agrees, and `deny` refuses.
import http from 'node:http';
import https from 'node:https';
import { once } from 'node:events';
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
const bound = { client_id: 'peer-bound-client', token_endpoint_auth_method: 'none', dpop_bound_access_tokens: true };
const boundDevice = { ...device, client_id: 'peer-bound-device-client', dpop_bound_access_tokens: true };
const certified = {
  client_id: 'peer-certified-client',
  token_endpoint_auth_method: 'tls_client_auth',
  tls_client_auth_subject_dn: 'CN=certified',
  tls_client_certificate_bound_access_tokens: true,
};
const tls = process.argv[4] ? JSON.parse(process.argv[4]) : null;
const selfSigned = tls && {
  client_id: 'peer-self-signed-client',
  token_endpoint_auth_method: 'self_signed_tls_client_auth',
  jwks: tls.self_signed_jwks,
  tls_client_certificate_bound_access_tokens: true,
};
const counts = { refreshed: 0, failed: 0 };
const server = tls ? https.createServer({ key: tls.key, cert: tls.cert }) : http.createServer();
const demanding = tls
  ? https.createServer({ key: tls.key, cert: tls.cert, ca: tls.ca, requestCert: true, rejectUnauthorized: true })
  : http.createServer();
demanding.listen(0, '127.0.0.1');
await once(demanding, 'listening');
server.listen(0, '127.0.0.1', () => {
  const scheme = tls ? 'https' : 'http';
  const issuer = `${scheme}://127.0.0.1:${server.address().port}`;
  const alias = `${scheme}://127.0.0.1:${demanding.address().port}`;
  const byCertificate = {
    enabled: true,
    certificateBoundAccessTokens: true,
    selfSignedTlsClientAuth: true,
    tlsClientAuth: true,
    getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate?.()?.toString(),
    certificateAuthorized: (ctx) => ctx.req.socket.authorized,
    certificateSubjectMatches: (ctx, property, expected) =>
      `CN=${ctx.req.socket.getPeerCertificate().subject?.CN}` === expected,
  };
  const provider = new Provider(issuer, {
    clients: [
      client, signing, secretSigning, pushing, device, bound, boundDevice, ...(tls ? [certified, selfSigned] : []),
    ].map((each) => ({
      redirect_uris: [process.argv[2]],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      ...each,
    })),
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_jwt', 'client_secret_post', 'private_key_jwt', 'none',
      ...(tls ? [certified, selfSigned].map((each) => each.token_endpoint_auth_method) : []),
    ],
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      pushedAuthorizationRequests: { enabled: true },
      revocation: { enabled: true },
      deviceFlow: { enabled: true },
      mTLS: tls ? byCertificate : { enabled: false },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    },
    discovery: tls ? {
      mtls_endpoint_aliases: {
        token_endpoint: `${alias}/token`,
        userinfo_endpoint: `${alias}/me`,
        revocation_endpoint: `${alias}/token/revocation`,
        pushed_authorization_request_endpoint: `${alias}/request`,
      },
    } : {},
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
  const isRefresh = (ctx) => ctx.oidc.params?.grant_type === 'refresh_token';
  provider.on('grant.success', (ctx) => { counts.refreshed += isRefresh(ctx) ? 1 : 0; });
  provider.on('grant.error', (ctx, error) => {
    counts.failed += isRefresh(ctx) && error.error !== 'use_dpop_nonce' ? 1 : 0;
  });
  const answer = provider.callback();
  demanding.on('request', answer);
  server.on('request', async (request, response) => {
    if (request.url === '/counts') return response.end(JSON.stringify(counts));
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
    bound_client_id: bound.client_id,
    bound_device_client_id: boundDevice.client_id,
    certified_client_id: certified.client_id,
    self_signed_client_id: selfSigned?.client_id,
  }));
});
