// The SSE stream: the present state first, then every change, across reconnects.
//
// Promise: after an interruption the stream continues with the last id that was received, so that
// no last state is missed. Limit: states are conflated by the server, and a state may arrive twice.

import { EventSourceParserStream } from "eventsource-parser/stream";
import { failure } from "./problem.js";
import { pause } from "./retry.js";
import type { components } from "./schema.js";

type Schemas = components["schemas"];

export type StreamEvent =
  | { event: "drop"; id: string; data: Schemas["Drop"] }
  | { event: "waitlist"; id: string; data: Schemas["WaitlistNews"] }
  | { event: "order"; id: string; data: Schemas["Order"] };

export interface FollowOptions {
  /** Ids of drops; by default all that are not over, or none if orders are named. */
  drops?: string[];
  orders?: string[];
  waitlist?: string[];
  /** Also sends drops that are scheduled later. */
  andNew?: boolean;
  /** The id of the last event of an earlier run. */
  lastEventId?: string;
  signal?: AbortSignal;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** The server sends a heartbeat at least every 15 s, so a silent connection is dead. */
const SILENCE_MS = 40_000;

/**
 * Yields events until `signal` is aborted or the caller leaves the loop. Refusals that a later
 * attempt does not change are thrown as problems.
 */
export async function* follow(
  send: typeof fetch,
  baseUrl: string,
  headers: () => Promise<Record<string, string>>,
  { signal, lastEventId = "", ...subjects }: FollowOptions,
): AsyncGenerator<StreamEvent, void, undefined> {
  const url = `${baseUrl}/v1/stream?${query(subjects)}`;
  let wait = FIRST_WAIT_MS;
  while (!signal?.aborted) {
    const connection = new AbortController();
    const abort = () => connection.abort();
    signal?.addEventListener("abort", abort);
    let demanded = 0;
    try {
      const sent: Record<string, string> = { ...(await headers()), Accept: "text/event-stream" };
      if (lastEventId) sent["Last-Event-ID"] = lastEventId;
      const response = await connected(send(url, { headers: sent, signal: connection.signal }));
      if (response instanceof Response) {
        for await (const event of eventsOf(response, connection)) {
          lastEventId = event.id;
          wait = FIRST_WAIT_MS;
          yield event;
        }
      } else {
        demanded = response.retryAfterMs;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      connection.abort();
    }
    if (signal?.aborted) return;
    // All clients lose a connection at the same moment, and must not return in step.
    const jittered = Math.max(demanded, wait * (0.5 + Math.random()));
    await pause(jittered, signal).catch(() => {});
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}

function query({ drops, orders, waitlist, andNew }: FollowOptions): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const [name, ids] of Object.entries({ drops, orders, waitlist }))
    if (ids?.length) parameters.set(name, ids.join(","));
  if (andNew) parameters.set("new", "true");
  return parameters;
}

/** Returns the response, or how long to wait at least; throws a refusal that is final. */
async function connected(sent: Promise<Response>): Promise<Response | { retryAfterMs: number }> {
  const response = await sent.catch(() => undefined);
  if (!response) return { retryAfterMs: 0 };
  if (response.ok) return response;
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  if (response.status >= 500 || !Number.isNaN(seconds)) {
    await response.body?.cancel();
    return { retryAfterMs: 1000 * (seconds || 0) };
  }
  throw failure(await response.json().catch(() => undefined), response.status);
}

/** Yields the events of one connection until it ends or is silent for too long. */
async function* eventsOf(
  response: Response,
  connection: AbortController,
): AsyncGenerator<StreamEvent, void, undefined> {
  let heardAt = Date.now();
  const watch = setInterval(() => {
    if (Date.now() - heardAt > SILENCE_MS) connection.abort();
  }, 1000);
  const heard = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, to) {
      heardAt = Date.now();
      to.enqueue(bytes);
    },
  });
  const text = response.body?.pipeThrough(heard).pipeThrough(decoder());
  const reader = text?.pipeThrough(new EventSourceParserStream()).getReader();
  try {
    for (;;) {
      // A connection that is lost ends the events; the caller connects again.
      const next = await reader?.read().catch(() => undefined);
      if (!next || next.done) return;
      const { event, id, data } = next.value;
      if (event && data) yield { event, id: id ?? "", data: JSON.parse(data) } as StreamEvent;
    }
  } finally {
    clearInterval(watch);
    await reader?.cancel().catch(() => {});
  }
}

/** The DOM's types permit other inputs than this stream has. */
function decoder(): ReadableWritablePair<string, Uint8Array> {
  return new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
}
