// A browser, pages that notice what no page of ours may do, and the API as an admin.
//
// Every page made here fails its test when it writes an error to the console, throws, or asks another origin for anything.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach } from "node:test";
import { chromium } from "playwright-core";

export const BASE = env("HOLDFAST_URL");
export const ADMIN_KEY = env("HOLDFAST_ADMIN_KEY");
export const OUT = env("HOLDFAST_OUT");
/** How long anything may take before a test gives up; generous, for a slow machine. */
export const PATIENCE = Number(process.env.HOLDFAST_PATIENCE ?? 60_000);

function env(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: these tests are run by cargo test -p tests --test browser`);
  return value;
}

let browser;

export async function launch() {
  browser = await chromium.launch({
    executablePath: env("HOLDFAST_CHROMIUM"),
    // As root, and in containers, Chromium's own sandbox cannot start. Only our own pages are opened.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
    timeout: PATIENCE,
  });
}

export async function close() {
  await browser?.close();
}

/** A browser of its own: its storage, its cookies. */
export async function context(t, options = {}) {
  const made = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  made.setDefaultTimeout(PATIENCE);
  t.after(async () => {
    // A request that a test still has in its hands ends with its page, and is no fault of it.
    await Promise.all(made.pages().map((page) => page.unrouteAll({ behavior: "ignoreErrors" })));
    await made.close();
  });
  return made;
}

/**
 * A page at `path`; `about:blank` for a test that goes there itself. `expected`: what it may write to the console as an error, as a browser does about every refused request.
 * `clock`: its time can be moved by the test.
 */
export async function open(t, path, { expected = [], within, clock = false, ...options } = {}) {
  const page = await (within ?? (await context(t, options))).newPage();
  if (clock) await page.clock.install();
  const faults = [];
  page.on("console", (message) => {
    const words = `${message.text()} ${message.location().url}`;
    if (message.type() === "error" && !expected.some((pattern) => pattern.test(words))) faults.push(words);
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== "data:" && protocol !== "blob:" && origin !== BASE) faults.push(`asked ${request.url()}`);
  });
  t.after(() => assert.deepEqual(faults, [], `${path} did what no page may`));
  if (path !== "about:blank") await page.goto(BASE + path, { timeout: PATIENCE });
  return page;
}

/** A shop page whose stream is there. */
export async function openLive(t, path, options) {
  const page = await open(t, path, options);
  await page.locator('connection-state[data-state="live"]').waitFor();
  return page;
}

/** The dashboard, signed in. */
export async function openDashboard(t, options) {
  const page = await open(t, "/admin", options);
  await page.fill("#key", ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("metric-tiles").waitFor();
  return page;
}

/** Calls the API with the admin key; fails on a refusal. */
export async function api(method, path, body, headers = {}) {
  const response = await fetch(BASE + path, {
    method,
    headers: { authorization: `Bearer ${ADMIN_KEY}`, "content-type": "application/json", "idempotency-key": randomUUID(), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

/** Schedules a drop that is on at once, and stays. */
export async function scheduleDrop(more = {}) {
  const name = `Lantern ${randomUUID().slice(0, 8)}`;
  return api("POST", "/v1/drops", { name, price: { amount: 4900, currency: "EUR" }, total_stock: 5, ...more });
}

/** Drops that are to be called off once the test is over. */
const transient = new Set();

/** Schedules a drop that is on at once, for one test: the shop's first page has room for those of one test. */
export async function createDrop(more = {}) {
  const drop = await scheduleDrop(more);
  transient.add(drop.id);
  return drop;
}

afterEach(async () => {
  const over = [...transient];
  transient.clear();
  await Promise.all(over.map((id) => api("POST", `/v1/drops/${id}/cancel`)));
});

/** Edits a drop's terms. */
export function edit(drop, change) {
  return api("PATCH", `/v1/drops/${drop.id}`, change, { "if-match": "*" });
}

/** The card of a drop. */
export function card(page, drop) {
  return page.locator(`drop-card[data-drop-id="${drop.id}"]`);
}

/** A countdown of less than an hour, in seconds. */
export async function shownSeconds(locator) {
  const [minutes, seconds] = (await locator.innerText()).split(":").map(Number);
  return 60 * minutes + seconds;
}

/** What this browser remembers of its holds. */
export function remembered(page) {
  return page.evaluate(() => JSON.parse(localStorage.getItem("holdfast.yours") ?? "[]"));
}

/** Asks until `look` gives something. */
export async function eventually(what, look) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    assert.ok(Date.now() < deadline, `never came about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until an element says this; however its words are spread over lines. */
export async function says(locator, words) {
  let last = "nothing";
  const isSaid = async () => {
    const text = await locator.first().innerText({ timeout: PATIENCE }).catch(() => "");
    last = text.replaceAll(/\s+/g, " ").trim();
    return words instanceof RegExp ? words.test(last) : last.includes(words);
  };
  await eventually(`an element says ${words}`, isSaid).catch((error) => {
    throw new Error(`${error.message}; it says “${last}”`);
  });
}
