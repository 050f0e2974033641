// Makes one key of each kind with Node's own cryptography, and a token that each has signed.
import { generateKeyPairSync, sign } from "node:crypto";

const kinds = [
  ["ES256", "ec", { namedCurve: "P-256" }],
  ["RS256", "rsa", { modulusLength: 2048 }],
  ["EdDSA", "ed25519", {}],
];
const exp = Math.floor(Date.now() / 1000) + 600;
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

const keys = [];
const tokens = {};
for (const [alg, kind, options] of kinds) {
  const { publicKey, privateKey } = generateKeyPairSync(kind, options);
  keys.push({ ...publicKey.export({ format: "jwk" }), kid: alg, alg, use: "sig" });
  const signed = `${encoded({ typ: "JWT", alg, kid: alg })}.${encoded({ sub: `buyer-${alg}`, exp })}`;
  const digest = alg === "EdDSA" ? null : "sha256";
  const key = { key: privateKey, dsaEncoding: "ieee-p1363" };
  tokens[alg] = `${signed}.${sign(digest, Buffer.from(signed), key).toString("base64url")}`;
}
console.log(JSON.stringify({ set: { keys }, tokens }));
