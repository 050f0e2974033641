// The way into the dashboard: the admin key for a cookie that no script can read.

import { Problem, call } from "../lib/api.js";
import { byId, mark, write } from "../lib/dom.js";

/** @type {HTMLInputElement} */
const key = byId("key");
const refused = byId("refused");

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  write(refused, key.value ? "" : "The key is needed.");
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
key.focus();
