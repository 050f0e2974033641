// The API reference, rendered from the server's OpenAPI document.

import { Problem, call } from "../lib/api.js";
import { byId, h, write } from "../lib/dom.js";
import { Description } from "../lib/openapi.js";
import { ApiOperation } from "../elements/api-operation.js";
import { ApiSchema, prose } from "../elements/api-schema.js";

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
 * Ids for the curl commands, so that they work without changes: a drop on sale, or a sold-out drop
 * for the waitlist. The command that cancels a drop has a placeholder.
 * @returns {Promise<Record<string, string>>}
 */
async function known() {
  const [live, soldOut, any] = await Promise.all([
    newest("&status=live"),
    newest("&status=sold_out"),
    newest(""),
  ]);
  const id = live ?? soldOut ?? any ?? "DROP_ID";
  const others = {
    "cancelDrop.id": "DROP_ID",
    buyer_id: "buyer-1",
    "holds.id": "HOLD_ID",
    "waitlist.id": "ENTRY_ID",
  };
  return { ...others, id, "joinWaitlist.id": soldOut ?? id };
}

/** @param {string} title @param {[string, string][]} links targets and labels */
function contents(title, links) {
  return h(
    "section",
    {},
    h("strong", {}, title),
    h("ul", {}, ...links.map(([to, name]) => h("li", {}, h("a", { href: `#${to}` }, name)))),
  );
}

/** @param {string} title @param {string} words @param {Node[]} inside */
function group(title, words, inside) {
  const id = `group-${title.toLowerCase().replaceAll(" ", "-")}`;
  return h(
    "section",
    { class: "group", "aria-labelledby": id },
    h(
      "div",
      { class: "part" },
      h("h2", { id }, title),
      h("p", { class: "quiet-words" }, ...prose(words)),
    ),
    ...inside,
  );
}

async function show() {
  const [document, ids] = await Promise.all([call("/openapi.json"), known()]);
  const description = new Description(document);
  byId("about").replaceChildren(
    ...document.info.description
      .trim()
      .split("\n\n")
      .map((/** @type {string} */ words) => h("p", {}, ...prose(words.replaceAll("\n", " ")))),
  );
  for (const { name, description: words } of document.tags) {
    const operations = description.operations(name);
    const shown = operations.map((operation) => {
      const element = new ApiOperation();
      element.show(description, operation, ids);
      return element;
    });
    byId("groups").append(group(name, words, shown));
    byId("lists").append(
      contents(
        name,
        operations.map(({ described }) => [described.operationId, described.summary]),
      ),
    );
  }
  const schemas = description.schemas();
  const shown = schemas.map(([name, schema]) => {
    const element = new ApiSchema();
    element.show(description, name, schema);
    return element;
  });
  byId("groups").append(group("Schemas", "The types of request and response bodies.", shown));
  byId("lists").append(
    contents(
      "Schemas",
      schemas.map(([name]) => [`schema-${name}`, name]),
    ),
  );
  scrollToHash();
}

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

/** The target of the URL's fragment did not exist yet when the page was loaded. */
function scrollToHash() {
  if (location.hash.length > 1) location.replace(location.hash);
}

foldContents();
try {
  await show();
} catch (problem) {
  if (!(problem instanceof Problem)) throw problem;
  write(byId("failed"), `${problem.message} Reload the page in a moment.`);
}
