// Solves the challenge on standard input with ALTCHA's library; prints the payload.

import { readFileSync } from "node:fs";
import { solveChallenge } from "altcha-lib";
import { deriveKey } from "altcha-lib/algorithms/pbkdf2";

const challenge = JSON.parse(readFileSync(0, "utf8"));
const solution = await solveChallenge({ challenge, deriveKey });
console.log(btoa(JSON.stringify({ challenge, solution })));
