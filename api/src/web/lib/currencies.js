// The number of decimals of each currency by ISO 4217. The same table as on the server; a test
// compares them.
//
// The browser's table is not used: Intl contains the usual notation of a currency (HUF without
// decimals), which varies by version.

/** Currencies that do not have two decimals. @type {Record<number, string>} */
const ODD = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};

const DECIMALS = new Map(
  Object.entries(ODD).flatMap(([places, codes]) =>
    codes.split(" ").map((code) => [code, Number(places)]),
  ),
);

/**
 * Returns the number of decimals of a currency; 2 for an unknown code, which the server rejects.
 * @param {string} currency
 */
export function decimals(currency) {
  return DECIMALS.get(currency) ?? 2;
}
