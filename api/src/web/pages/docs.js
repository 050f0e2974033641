// The API reference. Its pages are complete without this script, which adds the search, copy
// buttons, and the address and ids of this server in the samples.

import { call, uuid } from "../lib/api.js";
import { server } from "../lib/base.js";
import { byId, h, write } from "../lib/dom.js";
import { search } from "../lib/docs-search.js";

/** The language of the samples that the reader opened last. */
const LANGUAGE = "docs-language";
/** How long the confirmation of a copy is shown, in milliseconds. */
const CONFIRMATION_MS = 2000;

/**
 * On wide screens the contents are always open next to the text. On narrow screens they are above
 * it, and folded.
 */
function foldContents() {
  /** @type {HTMLDetailsElement} */
  const contents = byId("contents");
  const isNarrow = matchMedia("(max-width: 60rem)");
  const fold = () => {
    contents.open = !isNarrow.matches;
  };
  isNarrow.addEventListener("change", fold);
  contents.addEventListener("click", ({ target }) => target instanceof HTMLAnchorElement && fold());
  fold();
}

/** Adds a button to every block that can be copied. */
function addCopyButtons() {
  for (const shown of document.querySelectorAll("pre[data-copy]")) {
    const name = `Copy: ${shown.getAttribute("aria-label")}`;
    const button = h(
      "button",
      { type: "button", class: "quiet small", "aria-label": name },
      "Copy",
    );
    const status = h("span", { class: "hint", role: "status" });
    button.addEventListener("click", async () => {
      write(status, (await copied(shown)) ? "Copied" : "Selected. Copy it with the keyboard.");
      setTimeout(() => write(status, ""), CONFIRMATION_MS);
    });
    const block = h("div", { class: "copied" }, h("p", { class: "copy" }, button, status));
    shown.replaceWith(block);
    block.append(shown);
  }
}

/**
 * Copies the text of an element. Browsers permit this on HTTPS and localhost only; on other origins
 * the text is selected instead.
 * @param {Element} element
 */
async function copied(element) {
  const text = element.textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}

/** Opens the samples in one language, and remembers the one that the reader opens. */
function keepLanguage() {
  const samples = /** @type {NodeListOf<HTMLDetailsElement>} */ (
    document.querySelectorAll("details.sample")
  );
  const preferred = localStorage.getItem(LANGUAGE);
  for (const sample of samples) {
    if (sample.dataset.language === preferred) sample.open = true;
    sample.querySelector("summary")?.addEventListener("click", () => {
      if (sample.dataset.language) localStorage.setItem(LANGUAGE, sample.dataset.language);
    });
  }
}

/**
 * Returns the newest drop with a status, if there is one.
 * @param {string} query
 * @returns {Promise<string | undefined>}
 */
async function newest(query) {
  const { data } = await call(`/v1/drops?limit=1${query}`).catch(() => ({ data: [] }));
  return data[0]?.id;
}

/**
 * Fills the placeholders of the samples, so that many work without changes: with the address of
 * this server, a new idempotency key, and the newest drop on sale; for the waitlist, a drop that is
 * sold out. A sample that ends something keeps its placeholder.
 */
async function fillSamples() {
  const places = /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll(".sample var[data-name]")
  );
  if (places.length === 0) return;
  /** @param {string} name @param {(operation: string) => string | undefined} text */
  const fill = (name, text) => {
    for (const place of places) {
      if (place.dataset.name !== name) continue;
      const filled = text(place.closest(".operation")?.id ?? "");
      if (!filled) continue;
      place.textContent = filled;
      place.dataset.filled = "";
    }
  };
  fill("origin", () => server);
  fill("key", uuid);
  if (![...places].some(({ dataset }) => dataset.name === "drop_id")) return;
  const [live, soldOut, any] = await Promise.all([
    newest("&status=live"),
    newest("&status=sold_out"),
    newest(""),
  ]);
  const usual = live ?? soldOut ?? any;
  fill("drop_id", (operation) => {
    if (/^(cancel|delete|erase|remove)/.test(operation)) return undefined;
    return operation === "joinWaitlist" ? (soldOut ?? usual) : usual;
  });
}

foldContents();
keepLanguage();
addCopyButtons();
search(byId("search"));
await fillSamples();
