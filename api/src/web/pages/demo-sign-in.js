// The sign-in page of the demo: gets a token for a name and hands it over to the page that the
// buyer came from, as the sign-in page of a shop does.

import { Problem, call } from "../lib/api.js";
import { at, pathHere } from "../lib/base.js";
import { byId, mark, write } from "../lib/dom.js";
import { nameOrUnnamed } from "../lib/foreign.js";

/** @type {HTMLInputElement} */
const name = byId("name");
const refused = byId("refused");

/**
 * The page to return to. Only pages of this server get a token: an address of another one would
 * send the buyer, and the token, to a stranger.
 */
function returnTo() {
  const asked = new URLSearchParams(location.search).get("return_to") ?? at("/");
  try {
    const url = new URL(asked, location.origin);
    // The origin of a blob: URL is that of the page which made it.
    if (url.origin === location.origin && url.protocol === location.protocol) return url;
  } catch {
    // It is no address.
  }
  return new URL(at("/"), location.origin);
}

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const isNamed = nameOrUnnamed(name.value) === name.value;
  write(refused, isNamed ? "" : "Enter a name.");
  mark(name, "aria-invalid", isNamed ? null : "true");
  if (!isNamed) return name.focus();
  try {
    const body = { name: name.value };
    const { token } = await call(pathHere(), { method: "POST", body });
    const page = returnTo();
    page.hash = `token=${token}`;
    // Without an entry of this page in the history: going back must not sign in again.
    location.replace(page);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    write(refused, problem.message);
    mark(name, "aria-invalid", "true");
    name.select();
  }
});
// Before, the browser would submit the form itself and leave the page.
/** @type {HTMLButtonElement} */
const submit = byId("submit");
submit.disabled = false;
name.focus();
