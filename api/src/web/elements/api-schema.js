// The fields of a schema or a list of parameters, with their types.

import { h } from "../lib/dom.js";

/**
 * @typedef {import("../lib/openapi.js").Description} Description
 * @typedef {import("../lib/openapi.js").Schema} Schema
 * @typedef {{name: string, schema: Schema, required: boolean, words?: string, location?: string}}
 *   Member
 */

/**
 * Renders text with `code`, **strong** and *emphasis*.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function prose(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/).map((part) => {
    if (part.startsWith("`")) return h("code", {}, part.slice(1, -1));
    if (part.startsWith("**")) return h("strong", {}, part.slice(2, -2));
    return part.startsWith("*") && part.endsWith("*") && part.length > 2
      ? h("em", {}, part.slice(1, -1))
      : part;
  });
}

/** @param {Description} description @param {Schema} schema */
export function kind(description, schema) {
  const words = description
    .kind(schema)
    .map(({ text, to }) => (to ? h("a", { href: to }, text) : text));
  return h("span", { class: "kind" }, ...words);
}

/** @param {Description} description @param {Member[]} list */
export function members(description, list) {
  const rows = list.map(({ name, schema, required, words, location }) => {
    const notes = [location, required ? "required" : ""].filter(Boolean).join(", ");
    const text = words ?? schema.description;
    return h(
      "div",
      {},
      h("dt", {}, h("code", {}, name), notes && h("span", { class: "kind" }, ` ${notes}`)),
      h("dd", {}, kind(description, schema), text && h("span", {}, ...prose(text))),
    );
  });
  return h("dl", { class: "members" }, ...rows);
}

/** The fields of a schema. @param {Schema} schema @returns {Member[]} */
export function fields(schema) {
  const required = new Set(schema.required ?? []);
  const properties = /** @type {[string, Schema][]} */ (Object.entries(schema.properties ?? {}));
  return properties.map(([name, field]) => ({ name, schema: field, required: required.has(name) }));
}

/** One schema, with an anchor. */
export class ApiSchema extends HTMLElement {
  /** @param {Description} description @param {string} name @param {Schema} schema */
  show(description, name, schema) {
    this.id = `schema-${name}`;
    this.className = "panel";
    const choices = /** @type {Schema[]} */ (schema.oneOf ?? []);
    const names = /** @type {string[]} */ (schema.enum ?? []);
    this.replaceChildren(
      h("h3", {}, h("a", { href: `#${this.id}` }, name)),
      schema.description
        ? h("p", { class: "quiet-words" }, ...prose(plainLinks(schema.description)))
        : "",
      ...names.map((name, index) =>
        h(
          "p",
          {},
          h("code", {}, JSON.stringify(name)),
          ` ${schema["x-enum-descriptions"]?.[index] ?? ""}`,
        ),
      ),
      ...choices.map((choice) =>
        choice.properties
          ? members(description, fields(choice))
          : h("p", {}, kind(description, choice), ` ${choice.description ?? ""}`),
      ),
      members(description, fields(schema)),
    );
  }
}
customElements.define("api-schema", ApiSchema);

/** Removes the brackets of rustdoc links, which have no target here. @param {string} text */
function plainLinks(text) {
  return text.replaceAll(/\[(`[^`]+`)\]/g, "$1");
}
