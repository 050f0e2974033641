// Reads the OpenAPI document: resolves references, describes schemas in words, and creates curl
// commands.

import { uuid } from "./api.js";

/**
 * @typedef {Record<string, any>} Schema
 * @typedef {{method: string, path: string, described: Record<string, any>}} Operation
 * @typedef {{text: string, to?: string}} Word a word, and optionally the target of a link
 */

const METHODS = ["get", "post", "patch", "put", "delete"];
const VARIABLES = /** @type {Record<string, string>} */ ({
  adminKey: "HOLDFAST_ADMIN_KEY",
  auditorKey: "HOLDFAST_AUDITOR_KEY",
});

export class Description {
  /** @param {Record<string, any>} document */
  constructor(document) {
    this.document = document;
  }

  /** Resolves a reference; returns any other value unchanged. @param {any} value @returns {any} */
  follow(value) {
    const reference = value?.$ref;
    if (typeof reference !== "string") return value;
    const parts = reference.replace("#/", "").split("/");
    return this.follow(
      parts.reduce((found, part) => found?.[part], /** @type {any} */ (this.document)),
    );
  }

  /**
   * The operations with a tag, in the order of the document.
   * @param {string} tag
   * @returns {Operation[]}
   */
  operations(tag) {
    const all = Object.entries(this.document.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]).map((method) => ({
        method: method.toUpperCase(),
        path,
        described: item[method],
      })),
    );
    return all.filter(({ described }) => described.tags[0] === tag);
  }

  /**
   * The schemas that the reference lists: those with fields or choices, without problems.
   * @returns {[string, Schema][]}
   */
  schemas() {
    const all = /** @type {[string, Schema][]} */ (
      Object.entries(this.document.components.schemas)
    );
    return all.filter(([name, schema]) => isListed(name, schema));
  }

  /** A schema in words, with its default. @param {Schema} schema @returns {Word[]} */
  kind(schema) {
    const preset = schema.default ?? schema["x-default"];
    const words = this.#kind(schema);
    return preset === undefined
      ? words
      : [...words, { text: `, default ${JSON.stringify(preset)}` }];
  }

  /** @param {Schema} schema @returns {Word[]} */
  #kind(schema) {
    if (typeof schema.$ref === "string") {
      const name = schema.$ref.split("/").at(-1) ?? "";
      const target = this.follow(schema);
      return isListed(name, target) ? [{ text: name, to: `#schema-${name}` }] : this.kind(target);
    }
    const choices = schema.anyOf ?? schema.oneOf;
    if (schema["x-of-drops"])
      return [{ text: "object; for a drop, " }, ...this.kind(schema["x-of-drops"])];
    if (choices) return joined(choices.map((/** @type {Schema} */ choice) => this.kind(choice)));
    if (schema.items) return [{ text: "list of " }, ...this.kind(schema.items)];
    if (schema.additionalProperties?.$ref)
      return [{ text: "object of " }, ...this.kind(schema.additionalProperties)];
    return [{ text: plain(schema) }];
  }
}

/** @param {string} name @param {Schema} schema */
function isListed(name, schema) {
  return (
    Boolean(schema.properties || schema.oneOf || schema["x-enum-descriptions"]) &&
    !name.endsWith("Problem")
  );
}

/** @param {Word[][]} kinds @returns {Word[]} */
function joined(kinds) {
  return kinds.flatMap((kind, index) => (index === 0 ? kind : [{ text: " or " }, ...kind]));
}

/** A schema without parts, in words. @param {Schema} schema */
function plain(schema) {
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum)
    return schema.enum.map((/** @type {unknown} */ value) => JSON.stringify(value)).join(" or ");
  const types = [schema.type ?? "anything"].flat().join(" or ");
  const named =
    schema.format && !/^u?int/.test(schema.format) ? `${types} (${schema.format})` : types;
  const { minimum, maximum } = schema;
  const isBounded =
    minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  const bounds = isBounded
    ? `, ${minimum} to ${maximum}`
    : minimum > 0
      ? `, at least ${minimum}`
      : "";
  const length = schema.maxLength ? `, at most ${schema.maxLength} characters` : "";
  return named + bounds + length;
}

/**
 * A curl command for this server. `known` contains the values of path parameters; some apply to one
 * group of paths or one operation only. Each command has a new idempotency key, so two commands are
 * two requests.
 * @param {Description} description
 * @param {Operation} operation
 * @param {string} origin
 * @param {Record<string, string>} known
 */
export function curl(description, { method, path, described }, origin, known) {
  const group = path.split("/")[2];
  const filled = path.replaceAll(
    /\{(\w+)\}/g,
    (_, name) =>
      known[`${described.operationId}.${name}`] ??
      known[`${group}.${name}`] ??
      known[name] ??
      name.toUpperCase(),
  );
  const media = described.requestBody?.content["application/json"];
  const parts = ["curl", path === "/v1/stream" ? "-sN" : "-s"];
  if (method !== (media ? "POST" : "GET")) parts.push("-X", method);
  parts.push(quoted(origin + filled));
  const scheme = (described.security ?? [])
    .map((/** @type {object} */ one) => Object.keys(one)[0])
    .find((/** @type {string} */ name) => VARIABLES[name]);
  const isNeeded = !(described.security ?? []).some(
    (/** @type {object} */ one) => Object.keys(one).length === 0,
  );
  if (scheme && isNeeded) parts.push("-H", `"Authorization: Bearer $${VARIABLES[scheme]}"`);
  for (const parameter of described.parameters ?? []) {
    const { name, required, in: location } = description.follow(parameter);
    if (location === "header" && required)
      parts.push("-H", quoted(`${name}: ${name === "If-Match" ? "*" : uuid()}`));
  }
  if (media)
    parts.push(
      "-H",
      quoted("Content-Type: application/json"),
      "-d",
      quoted(JSON.stringify(media.example)),
    );
  return parts.join(" ");
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
