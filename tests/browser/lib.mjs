// A browser, pages with checks, and calls of the API as an admin.
//
// Every page that is opened here fails its test if it writes an error to the console, throws, or
// sends a request to another origin, or outside of the path of the shop.

import assert from "node:assert/strict";
import { createECDH, randomBytes, randomUUID } from "node:crypto";
import { afterEach } from "node:test";
import { chromium } from "playwright-core";

/** The address of the shop, without a slash at its end. */
export const BASE = env("HOLDFAST_URL");
const { origin: ORIGIN, pathname: BELOW } = new URL(BASE);
/** The origin of another site, which the server lists; by its address, the site is not listed. */
export const OTHER_SITE = env("HOLDFAST_OTHER_SITE");
export const ADMIN_KEY = env("HOLDFAST_ADMIN_KEY");
export const OUT = env("HOLDFAST_OUT");
/** The timeout of each step; generous, for slow machines. */
export const TIMEOUT = Number(process.env.HOLDFAST_PATIENCE ?? 180_000);

function env(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: these tests are run by cargo test -p tests --test browser`);
  return value;
}

/** Behind a proxy with TLS, the tests' certificate is trusted by Node only. */
const TRUST = process.env.NODE_EXTRA_CA_CERTS ? ["--ignore-certificate-errors"] : [];

let browser;

export async function launch() {
  browser = await chromium.launch({
    executablePath: env("HOLDFAST_CHROMIUM"),
    // As root, and in containers, Chromium's own sandbox cannot start. Only our own pages are
    // opened.
    args: ["--no-sandbox", "--disable-dev-shm-usage", ...TRUST],
    timeout: TIMEOUT,
  });
}

export async function close() {
  await browser?.close();
}

/** Creates a browser context with its own storage and cookies. */
export async function context(t, options = {}) {
  const made = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  made.setDefaultTimeout(TIMEOUT);
  t.after(async () => {
    // A request that a test still intercepts ends with its page; that is not an error.
    await Promise.all(made.pages().map((page) => page.unrouteAll({ behavior: "ignoreErrors" })));
    await made.close();
  });
  return made;
}

/**
 * Opens a page at `path`; `about:blank` for a test that navigates itself. `expected`: errors that
 * it may write to the console, as a browser does for every rejected request. `clock`: the test
 * controls its time. `origins`: where it may send requests.
 */
export async function open(
  t,
  path,
  { expected = [], within, clock = false, origins = [ORIGIN], ...options } = {},
) {
  const page = await (within ?? (await context(t, options))).newPage();
  if (clock) await page.clock.install();
  const faults = [];
  page.on("console", (message) => {
    const words = `${message.text()} ${message.location().url}`;
    if (message.type() === "error" && !expected.some((pattern) => pattern.test(words)))
      faults.push(words);
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => {
    const { protocol, origin, pathname } = new URL(request.url());
    if (protocol === "data:" || protocol === "blob:") return;
    const isOfShop = origin !== ORIGIN || BELOW === "/" || pathname.startsWith(`${BELOW}/`);
    if (!origins.includes(origin) || !isOfShop) faults.push(`request to ${request.url()}`);
  });
  t.after(() => assert.deepEqual(faults, [], `${path} has errors`));
  if (path !== "about:blank") await page.goto(BASE + path, { timeout: TIMEOUT });
  return page;
}

/** Opens a shop page and waits until its stream is connected. */
export async function openLive(t, path, options) {
  const page = await open(t, path, options);
  await page.locator('connection-state[data-state="live"]').waitFor();
  return page;
}

/** Opens the dashboard and signs in. */
export async function openDashboard(t, options) {
  const page = await open(t, "/admin", options);
  await page.fill("#key", ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("metric-tiles").waitFor();
  return page;
}

/** Replaces the calls that reach a push service. */
export async function withPushService(page) {
  const ecdh = createECDH("prime256v1");
  const endpoint = `https://push.example/${randomUUID()}`;
  const keys = {
    p256dh: ecdh.generateKeys("base64url"),
    auth: randomBytes(16).toString("base64url"),
  };
  await page.addInitScript(
    ([endpoint, keys]) => {
      const NAME = "test.subscription";
      const made = (key) => ({
        endpoint,
        options: { applicationServerKey: Uint8Array.from(key).buffer },
        toJSON: () => ({ endpoint, expirationTime: null, keys }),
        unsubscribe: async () => {
          localStorage.removeItem(NAME);
          return true;
        },
      });
      const manager = window.PushManager.prototype;
      manager.getSubscription = async () => {
        const kept = localStorage.getItem(NAME);
        return kept ? made(JSON.parse(kept)) : null;
      };
      manager.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
        if (!userVisibleOnly) throw new Error("a browser requires userVisibleOnly");
        const key = [...new Uint8Array(applicationServerKey)];
        localStorage.setItem(NAME, JSON.stringify(key));
        return made(key);
      };
    },
    [endpoint, keys],
  );
  return endpoint;
}

/** Calls the API with the admin key; throws on an error response. */
export async function api(method, path, body, headers = {}) {
  const response = await fetch(BASE + path, {
    method,
    headers: {
      authorization: `Bearer ${ADMIN_KEY}`,
      "content-type": "application/json",
      "idempotency-key": randomUUID(),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const result = response.status === 204 ? null : await response.json();
  assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(result)}`);
  return result;
}

/** Schedules a drop that starts immediately and is not cancelled after the test. */
export async function scheduleDrop(more = {}) {
  const name = `Lantern ${randomUUID().slice(0, 8)}`;
  return api("POST", "/v1/drops", {
    name,
    price: { amount: 4900, currency: "EUR" },
    total_stock: 5,
    ...more,
  });
}

/**
 * Fills the chart and the lists of one sample drop, adds a drop without a picture, and returns the
 * sample drop.
 */
export async function fillShop() {
  const drop = (await api("GET", "/v1/drops")).data.find(({ name }) => name.startsWith("Low Tide"));
  for (const [buyer, quantity] of [
    ["Ada", 2],
    ["Bo", 1],
    ["Cleo", 1],
  ]) {
    const hold = await api("POST", `/v1/drops/${drop.id}/holds`, {
      buyer_id: buyer,
      display_name: buyer,
      quantity,
    });
    await api("POST", `/v1/holds/${hold.id}/purchase`);
  }
  await scheduleDrop({
    name: "Field lamp, brass",
    total_stock: 8,
    description: "Without a picture: a drawing is generated.",
  });
  return drop;
}

/** Orders units of drops; a drop may be listed several times. */
export function order(drops, more = {}) {
  return api("POST", "/v1/orders", {
    buyer_id: `buyer-${randomUUID()}`,
    items: drops.map(({ id }) => ({ drop_id: id })),
    ...more,
  });
}

/** Orders units of drops, which are paid without a provider. */
export async function orderPaid(drops, { payment_reference, ...more } = {}) {
  const { id } = await order(drops, more);
  const body = payment_reference === undefined ? undefined : { payment_reference };
  return api("POST", `/v1/orders/${id}/purchase`, body);
}

/** Adds an order of two units of a drop, of which one is refunded, and an order that waits. */
export async function fillOrders(drop) {
  const { id } = await orderPaid([drop, drop], { buyer_id: "Dora", payment_reference: "pay-1" });
  const paid = await api("PATCH", `/v1/orders/${id}`, { fulfilment: "shipped", tracking: "1Z999" });
  const [{ purchase_id }] = paid.items;
  await api("POST", `/v1/purchases/${purchase_id}/refunds`, { quantity: 1, reason: "Bent" });
  return { paid, waiting: await order([drop], { buyer_id: "Dora" }) };
}

/** Opens the cart of a new browser with one unit of each drop. */
export async function fillCart(t, drops, { expected, ...options } = {}) {
  const within = await context(t, options);
  const page = await openLive(t, `/drops/${drops[0].id}`, { within, expected });
  for (const [index, { id }] of drops.entries()) {
    if (index > 0) await page.goto(`${BASE}/drops/${id}`);
    await page.getByRole("button", { name: "Add to cart" }).click();
    await expectText(page.locator("cart-count"), String(index + 1));
  }
  await page.goto(`${BASE}/cart`);
  await page
    .locator("cart-sheet li")
    .nth(drops.length - 1)
    .waitFor();
  return page;
}

/** Opens a room of the dashboard, signs in, and waits until its script runs. */
export async function openRoom(t, path, options) {
  const page = await open(t, path, options);
  await page.fill("#key", ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation", { name: "Dashboard" }).waitFor();
  // The room's script has started, so that no press is lost.
  await page.locator("#sign-out:enabled").waitFor();
  return page;
}

/** The windows of a desktop and of a phone. */
export const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  phone: {
    colorScheme: "light",
    viewport: { width: 360, height: 760 },
    isMobile: true,
    hasTouch: true,
    deviceScaleFactor: 2,
  },
};

/** Drops that are cancelled after the test. */
const transient = new Set();

/**
 * Schedules a drop that starts immediately, for one test: the first page of the shop has space for
 * the drops of one test.
 */
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

export function edit(drop, change) {
  return api("PATCH", `/v1/drops/${drop.id}`, change, { "if-match": "*" });
}

export function card(page, drop) {
  return page.locator(`drop-card[data-drop-id="${drop.id}"]`);
}

/** Returns whether a page is within the width of its window. */
export function fits(page) {
  return page.evaluate(
    () => document.documentElement.scrollWidth <= document.documentElement.clientWidth,
  );
}

/** Waits until an element has a box: one that is being replaced has none. */
export function boxOf(locator) {
  return eventually(`${locator} has a box`, () => locator.boundingBox());
}

/** Reads a countdown of less than an hour, in seconds. */
export async function shownSeconds(locator) {
  const [minutes, seconds] = (await locator.innerText()).split(":").map(Number);
  return 60 * minutes + seconds;
}

/** The entries that this browser has stored. */
export function remembered(page) {
  return page.evaluate(() => JSON.parse(localStorage.getItem("holdfast.yours") ?? "[]"));
}

/** Calls `probe` until it returns a truthy value, and returns that. */
export async function eventually(description, probe) {
  const deadline = Date.now() + TIMEOUT;
  for (;;) {
    const result = await probe();
    if (result) return result;
    assert.ok(Date.now() < deadline, `timeout: ${description}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * Waits until the text of an element contains `words` or matches them. White space is normalized.
 */
export async function expectText(locator, words) {
  let last = "nothing";
  const matches = async () => {
    const text = await locator
      .first()
      .innerText({ timeout: TIMEOUT })
      .catch(() => "");
    last = text.replaceAll(/\s+/g, " ").trim();
    return words instanceof RegExp ? words.test(last) : last.includes(words);
  };
  await eventually(`an element contains ${words}`, matches).catch((error) => {
    throw new Error(`${error.message}; its text is “${last}”`);
  });
}
