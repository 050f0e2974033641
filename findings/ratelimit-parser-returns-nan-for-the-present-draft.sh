#!/usr/bin/env bash
# ratelimit-header-parser 0.1.0 returns an object of NaN and an invalid date for the RateLimit
# header that express-rate-limit 8.7.5, of the same organisation, sends as draft 8.
#
# Behaviour: since draft 8 of the IETF's RateLimit fields the header is a structured field with a
# name, `"100-in-1min"; r=99; t=60`; drafts 6 and 7 are read as documented. For the new form the
# parser finds none of its keywords, but does not return undefined as it does without any header:
# limit and remaining are NaN and reset is an invalid Date. No error is raised.
# Output: draft-6 100 99 valid / draft-7 100 99 valid / draft-8 NaN NaN invalid / none undefined.
# Affected: a client that sleeps until `reset` or while `remaining < 1`. Both comparisons are false
# for NaN, so it never slows down. Read `r` and `t` with a parser of structured fields (RFC 9651),
# or obey Retry-After.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >init.log
npm install --silent --no-audit --no-fund --ignore-scripts \
  express@5.3.0 express-rate-limit@8.7.5 ratelimit-header-parser@0.1.0
cat >limits.mjs <<'JAVASCRIPT'
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import { parseRateLimit } from 'ratelimit-header-parser';

for (const draft of ['draft-6', 'draft-7', 'draft-8']) {
  const app = express();
  const options = { windowMs: 60_000, limit: 100, standardHeaders: draft, legacyHeaders: false };
  app.use(rateLimit(options));
  app.get('/', (_, response) => response.end());
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const response = await fetch(`http://127.0.0.1:${server.address().port}/`);
  const { limit, remaining, reset } = parseRateLimit(response);
  console.log(draft, limit, remaining, Number.isNaN(reset.getTime()) ? 'invalid' : 'valid');
  server.close();
}
console.log('none', parseRateLimit(new Headers()));
JAVASCRIPT
seen=$(node limits.mjs)
echo "$seen"
[ "$seen" = "draft-6 100 99 valid
draft-7 100 99 valid
draft-8 NaN NaN invalid
none undefined" ]
