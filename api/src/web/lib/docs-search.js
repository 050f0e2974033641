// The search of the API reference, over an index that the server makes from its document.

import { at, pathHere } from "./base.js";
import { byId, h, write } from "./dom.js";

/**
 * @typedef {{title: string, kind: string, to: string, words: string}} Entry
 */

const MOST = 12;

/** @type {Promise<Entry[]> | undefined} */
let loading;

/** Loads the index once; after a failure, at the next key. @returns {Promise<Entry[]>} */
function index() {
  loading ??= fetch(at("/docs/search.json")).then((response) => response.json());
  loading.catch(() => {
    loading = undefined;
  });
  return loading;
}

/** A text without the differences that a search ignores. @param {string} text */
function plain(text) {
  return text.toLowerCase().replaceAll(/[\s_-]+/g, " ");
}

/**
 * How well an entry matches: each word must occur; one in the title counts more, most at its start,
 * and more than that if the title begins with the whole query.
 * @param {Entry} entry
 * @param {string[]} words
 */
function rank({ title, kind, words: more }, words) {
  const [inTitle, inAll] = [plain(title), plain(`${title} ${kind} ${more}`)];
  let sum = inTitle.startsWith(words.join(" ")) ? 4 : 0;
  for (const word of words) {
    if (!inAll.includes(word)) return 0;
    sum += inTitle.startsWith(word) ? 4 : inTitle.includes(word) ? 3 : 1;
  }
  return sum;
}

/** @param {Entry[]} entries @param {string} query @returns {Entry[]} the best first */
export function find(entries, query) {
  const words = plain(query).split(" ").filter(Boolean);
  return entries
    .map((entry) => ({ entry, sum: rank(entry, words) }))
    .filter(({ sum }) => sum > 0)
    .sort((one, other) => other.sum - one.sum)
    .map(({ entry }) => entry);
}

/** Shows the search and keeps its results up to date. @param {HTMLElement} element */
export function search(element) {
  /** @type {HTMLInputElement} */
  const query = byId("query");
  const [count, found] = [byId("count"), byId("found")];
  const show = async () => {
    const text = query.value;
    /** @type {Entry[]} */
    const all = await index().catch(() => []);
    // A later key has its own results.
    if (query.value !== text) return;
    const results = find(all, text);
    found.replaceChildren(
      ...results
        .slice(0, MOST)
        .map(({ title, kind, to }) =>
          h(
            "li",
            {},
            h("a", { href: to }, h("span", {}, title), h("span", { class: "kind" }, kind)),
          ),
        ),
    );
    write(count, text.trim() ? words(results.length) : "");
  };
  query.addEventListener("input", show);
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter") found.querySelector("a")?.click();
  });
  addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLInputElement;
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    query.focus();
  });
  element.hidden = false;
  if (pathHere() === "/docs") followOldLink();
}

/** @param {number} count */
function words(count) {
  if (count > MOST) return `The best ${MOST} of ${count} results`;
  return count === 1 ? "1 result" : `${count} results`;
}

/** In version 0.1.0 the reference was one page; a link to a part of it leads to its new page. */
async function followOldLink() {
  const id = location.hash.slice(1);
  if (!id || document.getElementById(id)) return;
  const all = await index().catch(() => /** @type {Entry[]} */ ([]));
  const target = all.find(({ to }) => to.endsWith(`#${id}`));
  if (target) location.replace(at(target.to));
}
