// The API's own description, read: references followed, schemas in words, a curl line for each operation.

import { uuid } from "./api.js";

/**
 * @typedef {Record<string, any>} Schema
 * @typedef {{method: string, path: string, described: Record<string, any>}} Operation
 * @typedef {{text: string, to?: string}} Word a word, and what it leads to
 */

const METHODS = ["get", "post", "patch", "put", "delete"];
const VARIABLES = /** @type {Record<string, string>} */ ({ adminKey: "HOLDFAST_ADMIN_KEY", auditorKey: "HOLDFAST_AUDITOR_KEY" });

export class Description {
  /** @param {Record<string, any>} document */
  constructor(document) {
    this.document = document;
  }

  /** What a reference leads to; anything else is itself. @param {any} value @returns {any} */
  follow(value) {
    const reference = value?.$ref;
    if (typeof reference !== "string") return value;
    const parts = reference.replace("#/", "").split("/");
    return this.follow(parts.reduce((found, part) => found?.[part], /** @type {any} */ (this.document)));
  }

  /** The operations of a room, as the document orders them. @param {string} room @returns {Operation[]} */
  operations(room) {
    const all = Object.entries(this.document.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]).map((method) => ({ method: method.toUpperCase(), path, described: item[method] })));
    return all.filter(({ described }) => described.tags[0] === room);
  }

  /** The schemas that are worth a place of their own: those with fields, and no problems. @returns {[string, Schema][]} */
  schemas() {
    const all = /** @type {[string, Schema][]} */ (Object.entries(this.document.components.schemas));
    return all.filter(([name, schema]) => hasPlace(name, schema));
  }

  /** A schema in words, with the value that counts where none is given. @param {Schema} schema @returns {Word[]} */
  kind(schema) {
    const usually = schema.default ?? schema["x-default"];
    const words = this.#kind(schema);
    return usually === undefined ? words : [...words, { text: `, default ${JSON.stringify(usually)}` }];
  }

  /** @param {Schema} schema @returns {Word[]} */
  #kind(schema) {
    if (typeof schema.$ref === "string") {
      const name = schema.$ref.split("/").at(-1) ?? "";
      const target = this.follow(schema);
      return hasPlace(name, target) ? [{ text: name, to: `#schema-${name}` }] : this.kind(target);
    }
    const choices = schema.anyOf ?? schema.oneOf;
    if (schema["x-of-drops"]) return [{ text: "object; of a drop, " }, ...this.kind(schema["x-of-drops"])];
    if (choices) return joined(choices.map((/** @type {Schema} */ choice) => this.kind(choice)));
    if (schema.items) return [{ text: "list of " }, ...this.kind(schema.items)];
    if (schema.additionalProperties?.$ref) return [{ text: "object of " }, ...this.kind(schema.additionalProperties)];
    return [{ text: plain(schema) }];
  }
}

/** @param {string} name @param {Schema} schema */
function hasPlace(name, schema) {
  return Boolean(schema.properties || schema.oneOf || schema["x-enum-descriptions"]) && !name.endsWith("Problem");
}

/** @param {Word[][]} kinds @returns {Word[]} */
function joined(kinds) {
  return kinds.flatMap((kind, index) => (index === 0 ? kind : [{ text: " or " }, ...kind]));
}

/** A schema without parts. @param {Schema} schema */
function plain(schema) {
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((/** @type {unknown} */ value) => JSON.stringify(value)).join(" or ");
  const types = [schema.type ?? "anything"].flat().join(" or ");
  const named = schema.format && !/^u?int/.test(schema.format) ? `${types} (${schema.format})` : types;
  const { minimum, maximum } = schema;
  const isBounded = minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  const bounds = isBounded ? `, ${minimum} to ${maximum}` : minimum > 0 ? `, at least ${minimum}` : "";
  const length = schema.maxLength ? `, at most ${schema.maxLength} characters` : "";
  return named + bounds + length;
}

/**
 * A line for a shell that asks this server. `known` has the ids to put in for the names of a path's parameters, some of them for one
 * room or one operation alone. Each line has a key of its own: two that are pasted one after the other are two requests.
 * @param {Description} description @param {Operation} operation @param {string} origin @param {Record<string, string>} known
 */
export function curl(description, { method, path, described }, origin, known) {
  const room = path.split("/")[2];
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name) => known[`${described.operationId}.${name}`] ?? known[`${room}.${name}`] ?? known[name] ?? name.toUpperCase());
  const media = described.requestBody?.content["application/json"];
  const parts = ["curl", path === "/v1/stream" ? "-sN" : "-s"];
  if (method !== (media ? "POST" : "GET")) parts.push("-X", method);
  parts.push(quoted(origin + filled));
  const scheme = (described.security ?? []).map((/** @type {object} */ one) => Object.keys(one)[0]).find((/** @type {string} */ name) => VARIABLES[name]);
  const isNeeded = !(described.security ?? []).some((/** @type {object} */ one) => Object.keys(one).length === 0);
  if (scheme && isNeeded) parts.push("-H", `"Authorization: Bearer $${VARIABLES[scheme]}"`);
  for (const parameter of described.parameters ?? []) {
    const { name, required, in: place } = description.follow(parameter);
    if (place === "header" && required) parts.push("-H", quoted(`${name}: ${name === "If-Match" ? "*" : uuid()}`));
  }
  if (media) parts.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(media.example)));
  return parts.join(" ");
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
