#!/usr/bin/env bash
# dinero.js 2.0.2 counts the minor units of MGA and MRU in fifths; currency-codes 2.2.0 gives gold,
# special drawing rights and "no currency" zero decimals.
#
# Behaviour: ISO 4217 publishes the exponent 2 for the ariary (MGA) and the ouguiya (MRU), although
# their coins are fifths, and "N.A." for XAU, XDR and XXX. dinero.js defines the two currencies with
# base 5 and exponent 1, so an amount of 19999 ISO minor units (199.99) is read as 3999 and 4/5, and
# toDecimal raises an error for any amount. currency-codes keeps the exponent 2 for both, and turns
# "N.A." into 0, so a caller cannot distinguish a code without minor units from the yen.
# Output: USD [199,99] 199.99 / MGA [3999,4] [Dinero.js] Currency is not decimal. / MRU the same /
# MGA 2, MRU 2, XAU 0, XDR 0, XXX 0, JPY 0.
# Affected: a shop that receives {"amount": 19999, "currency": "MGA"} in ISO minor units and passes
# it to dinero.js charges twenty times as much; one that validates codes by currency-codes accepts
# prices in gold. Pass base 10 and exponent 2 explicitly, and refuse codes without an exponent.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >init.log
npm install --silent --no-audit --no-fund --ignore-scripts dinero.js@2.0.2 currency-codes@2.2.0
cat >units.mjs <<'JAVASCRIPT'
import codes from 'currency-codes';
import { dinero, toDecimal, toUnits } from 'dinero.js';
import * as currencies from 'dinero.js/currencies';

for (const code of ['USD', 'MGA', 'MRU']) {
  const price = dinero({ amount: 19999, currency: currencies[code] });
  let decimal;
  try {
    decimal = toDecimal(price);
  } catch (error) {
    decimal = error.message;
  }
  console.log(code, JSON.stringify(toUnits(price)), decimal);
}
const digits = (code) => `${code} ${codes.code(code).digits}`;
console.log(['MGA', 'MRU', 'XAU', 'XDR', 'XXX', 'JPY'].map(digits).join(', '));
JAVASCRIPT
seen=$(node units.mjs)
echo "$seen"
[ "$seen" = "USD [199,99] 199.99
MGA [3999,4] [Dinero.js] Currency is not decimal.
MRU [3999,4] [Dinero.js] Currency is not decimal.
MGA 2, MRU 2, XAU 0, XDR 0, XXX 0, JPY 0" ]
