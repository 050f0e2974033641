// How many decimals each currency has, by ISO 4217: the same table as the server's, which a test compares.
//
// Not the browser's: Intl knows how a currency is usually written (HUF without decimals), and that changes with its version.

/** Currencies that do not have two decimals. @type {Record<number, string>} */
const ODD = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};

const DECIMALS = new Map(Object.entries(ODD).flatMap(([places, codes]) => codes.split(" ").map((code) => [code, Number(places)])));

/** The exponent of a currency; 2 for an unknown code, which the server refuses. @param {string} currency */
export function decimals(currency) {
  return DECIMALS.get(currency) ?? 2;
}
