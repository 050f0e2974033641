// One operation of the reference: parameters, responses, errors, and a curl command.

import { h, write } from "../lib/dom.js";
import { curl } from "../lib/openapi.js";
import { fields, kind, members, prose } from "./api-schema.js";

/**
 * @typedef {import("../lib/openapi.js").Description} Description
 * @typedef {import("../lib/openapi.js").Operation} Operation
 */

const CREDENTIALS = /** @type {Record<string, string>} */ ({
  adminKey: "the admin key",
  auditorKey: "the auditor key, or the admin key",
  buyerToken: "the buyer's token, or the admin key",
  adminSession: "the session of a signed-in browser",
});

export class ApiOperation extends HTMLElement {
  /**
   * @param {Description} description
   * @param {Operation} operation
   * @param {Record<string, string>} known
   */
  show(description, operation, known) {
    const { method, path, described } = operation;
    this.id = described.operationId;
    this.className = "panel";
    this.replaceChildren(
      h("h3", {}, h("a", { href: `#${this.id}` }, described.summary)),
      h(
        "p",
        { class: "route" },
        h("span", { class: "verb", "data-verb": method }, method),
        h("code", {}, path),
      ),
      described.description
        ? h("p", { class: "quiet-words" }, ...prose(described.description))
        : "",
      h("p", { class: "hint" }, access(described.security)),
      parameters(description, described),
      body(description, described),
      ...responses(description, described),
      problems(described),
      part(
        "Try it",
        line(curl(description, operation, location.origin, known), `curl for ${described.summary}`),
      ),
    );
  }
}
customElements.define("api-operation", ApiOperation);

/** @param {string} title @param {...(Node | string)} content */
function part(title, ...content) {
  return h("div", { class: "part" }, h("h4", {}, title), ...content);
}

/**
 * A code block that can be scrolled, by keyboard as well.
 * @param {string} text
 * @param {string} name
 */
function code(text, name) {
  return h("pre", { tabindex: 0, role: "region", "aria-label": name }, text);
}

/** How long the confirmation of a copy is shown, in milliseconds. */
const CONFIRMATION_MS = 2000;

/**
 * A shell command: wrapped so that all of it is visible, with a button that copies it.
 * @param {string} text
 * @param {string} name
 */
function line(text, name) {
  const shown = code(text, name);
  shown.className = "line";
  const copier = h(
    "button",
    { type: "button", class: "quiet small", "aria-label": `Copy the ${name}` },
    "Copy",
  );
  const status = h("span", { class: "hint", role: "status" });
  copier.addEventListener("click", async () => {
    write(status, (await copied(shown)) ? "Copied" : "Selected. Copy it with the keyboard.");
    setTimeout(() => write(status, ""), CONFIRMATION_MS);
  });
  return h("div", { class: "try" }, shown, h("p", { class: "copy" }, copier, " ", status));
}

/**
 * Copies the text of an element. Browsers permit this on HTTPS and localhost only; on other origins
 * the text is selected instead.
 * @param {HTMLElement} element
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

/** @param {any} value @param {string} name */
function example(value, name) {
  return code(typeof value === "string" ? value : JSON.stringify(value, null, 2), name);
}

/** @param {Record<string, unknown>[]} security */
function access(security) {
  if (security.length === 0) return "No authentication required.";
  const names = security.flatMap((one) => Object.keys(one));
  const words = names.map((name) => CREDENTIALS[name] ?? name).join(", or ");
  const isOptional = security.some((one) => Object.keys(one).length === 0);
  return isOptional
    ? `If the server requires buyer tokens: ${words}. Otherwise no authentication is required.`
    : `Requires ${words}.`;
}

/** @param {Description} description @param {Record<string, any>} described */
function parameters(description, described) {
  const list = (described.parameters ?? []).map((/** @type {any} */ parameter) => {
    const {
      name,
      in: location,
      required = false,
      schema,
      description: words,
    } = description.follow(parameter);
    return { name, location, required, schema, words };
  });
  return list.length > 0 ? part("Parameters", members(description, list)) : "";
}

/** @param {Description} description @param {Record<string, any>} described */
function body(description, described) {
  const media = described.requestBody?.content["application/json"];
  if (!media) return "";
  const title = described.requestBody.required ? "Body" : "Body (optional)";
  return part(
    title,
    members(description, fields(description.follow(media.schema))),
    example(media.example, `Body of ${described.summary}`),
  );
}

/** @param {Description} description @param {Record<string, any>} described */
function responses(description, described) {
  return Object.entries(described.responses)
    .filter(([status]) => status < "400")
    .map(([status, response]) => {
      const content = Object.entries(response.content ?? {}).flatMap(([type, media]) => [
        h("p", {}, h("code", {}, type), " ", ...inside(description, type, media)),
        media.example === undefined
          ? ""
          : example(media.example, `${status} of ${described.summary}, as ${type}`),
      ]);
      const headers = Object.entries(response.headers ?? {}).map(([name, header]) => {
        const { schema, required = false, description: words } = description.follow(header);
        return { name, schema, required: false, words: required ? words : `Optional. ${words}` };
      });
      return part(
        `${status}: ${response.description}`,
        ...content,
        headers.length > 0 ? members(description, headers) : "",
      );
    });
}

/**
 * The content of a body: a schema, or the schemas of its events or lines.
 * @param {Description} description
 * @param {string} type
 * @param {any} media
 */
function inside(description, type, media) {
  const events = Object.entries(media["x-events"] ?? {}).flatMap(([name, schema]) => [
    " ",
    h("code", {}, name),
    " ",
    kind(description, schema),
  ]);
  if (events.length > 0) return ["with the events", ...events];
  if (media["x-lines"]) return ["one per line: ", kind(description, media["x-lines"])];
  return type === "application/json" ? [kind(description, media.schema)] : [];
}

/** @param {Record<string, any>} described */
function problems(described) {
  const rows = Object.entries(described.responses).flatMap(([status, response]) => {
    const all = response.content?.["application/problem+json"]?.examples ?? {};
    return Object.entries(all).map(([name, { value }]) => {
      const { type: _, title, status: __, detail: ___, code: ____, ...numbers } = value;
      const more = Object.keys(numbers);
      return h(
        "div",
        {},
        h("dt", {}, h("span", { class: "tabular" }, `${status} `), h("code", {}, name)),
        h(
          "dd",
          {},
          h("span", {}, `${title}.`),
          more.length > 0 && h("span", { class: "kind" }, "with ", more.join(", ")),
        ),
      );
    });
  });
  return part("Errors", h("dl", { class: "members" }, ...rows));
}
