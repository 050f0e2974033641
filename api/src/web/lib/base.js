// The path below which the shop is mounted on its host (HOLDFAST_BASE_PATH), from the address of
// this module: `/shop/assets/lib/base.js` is of a shop below `/shop`.

const home = new URL("../..", import.meta.url);

/** The base path, without a slash at its end; empty at the root of a host. */
export const base = home.pathname.replace(/\/$/, "");

/** The address of the server of this module, without a slash at its end. */
export const server = home.origin + base;

/**
 * The path at which the shop has `path`. An address that is no path is returned as it is.
 * @param {string} path
 */
export function at(path) {
  return path.startsWith("/") ? base + path : path;
}

/** The path of this page in the shop. */
export function pathHere() {
  return location.pathname.slice(base.length);
}
