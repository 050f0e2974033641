// A thin client of Holdfast: requests with the types of its OpenAPI document, sent by
// `openapi-fetch`, repeated when that is safe; and the SSE stream.

import createClient, { type Client } from "openapi-fetch";
import { solving } from "./challenge.js";
import { failure } from "./problem.js";
import { type RetryOptions, retrying } from "./retry.js";
import type { components, paths } from "./schema.js";
import { type FollowOptions, follow, type StreamEvent } from "./stream.js";

export { HoldfastProblem, type Problem, type ProblemCode, UnexpectedResponse } from "./problem.js";
export type { RetryOptions } from "./retry.js";
export type { FollowOptions, StreamEvent } from "./stream.js";
export type { components, paths };

export interface HoldfastOptions {
  /** The address of the server, without a slash at the end. */
  baseUrl: string;
  /** A key or a buyer's token, or a function that returns a present one. */
  token?: string | (() => string | Promise<string>);
  fetch?: typeof fetch;
  retry?: RetryOptions;
}

/** `GET`, `POST`, `PUT`, `PATCH` and `DELETE` of `openapi-fetch`, and `follow`. */
export interface Holdfast extends Client<paths> {
  follow(options?: FollowOptions): AsyncGenerator<StreamEvent, void, undefined>;
}

export function createHoldfast(options: HoldfastOptions): Holdfast {
  const { baseUrl, token } = options;
  const send = options.fetch ?? globalThis.fetch;
  const authorization = async (): Promise<Record<string, string>> => {
    const value = typeof token === "function" ? await token() : token;
    return value ? { Authorization: `Bearer ${value}` } : {};
  };
  const client = createClient<paths>({ baseUrl, fetch: solving(retrying(send, options.retry)) });
  client.use({
    async onRequest({ request }) {
      for (const [name, value] of Object.entries(await authorization()))
        if (!request.headers.has(name)) request.headers.set(name, value);
      return request;
    },
  });
  return Object.assign(client, {
    follow: (of: FollowOptions = {}) => follow(send, baseUrl, authorization, of),
  });
}

/**
 * Returns the body of a successful response.
 *
 * @throws HoldfastProblem if the API refused the request.
 */
export async function result<Data>(
  sent: Promise<{ data?: Data; error?: unknown; response: Response }>,
): Promise<Data> {
  const { data, error, response } = await sent;
  if (!response.ok) throw failure(error, response.status);
  return data as Data;
}
