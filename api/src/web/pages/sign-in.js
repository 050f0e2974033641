// The sign-in page of the dashboard: exchanges the admin key for an HttpOnly cookie.

import { Problem, call } from "../lib/api.js";
import { byId, mark, write } from "../lib/dom.js";

/** @type {HTMLInputElement} */
const key = byId("key");
const refused = byId("refused");

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  write(refused, key.value ? "" : "Enter the admin key.");
  mark(key, "aria-invalid", key.value ? null : "true");
  if (!key.value) return key.focus();
  try {
    await call("/v1/admin/session", { method: "POST", body: { key: key.value } });
    location.reload();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    write(refused, problem.message);
    mark(key, "aria-invalid", "true");
    key.select();
  }
});
// Before, the browser would submit the form itself and leave the page.
/** @type {HTMLButtonElement} */
const submit = byId("submit");
submit.disabled = false;
key.focus();
