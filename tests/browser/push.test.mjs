// Web Push in the pages: the choice in the bell, and the service worker. Chromium here reaches no
// push service, so the tests deliver messages to the worker themselves, and replace the browser's
// subscription by one with real keys.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  ADMIN_KEY,
  BASE,
  api,
  close,
  context,
  createDrop,
  launch,
  open,
  withPushService,
} from "./lib.mjs";

before(launch);
after(close);

const OFFER = "Notify me when the page is closed";
const STOP = "Stop these notifications";

/** Opens the shop's creators with the bell open. */
async function openBell(t, { permission, ...options } = {}) {
  const within = await context(t);
  if (permission) await within.grantPermissions([permission], { origin: BASE });
  const page = await open(t, "about:blank", { within, ...options });
  const endpoint = await withPushService(page);
  await page.goto(`${BASE}/creators`);
  await page.locator("notification-bell summary").click();
  return { page, endpoint };
}

/** The requests about subscriptions that a page sends. */
function subscriptionsOf(page) {
  const sent = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/push-subscriptions"))
      sent.push({ method: request.method(), body: request.postDataJSON() });
  });
  return sent;
}

/** Delivers messages to the worker of a page, as a push service would. */
async function workerOf(page) {
  const session = await page.context().newCDPSession(page);
  const registered = new Promise((resolve) => {
    session.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
      const own = registrations.find(({ scopeURL }) => scopeURL === `${BASE}/`);
      if (own) resolve(own.registrationId);
    });
  });
  await session.send("ServiceWorker.enable");
  const registrationId = await registered;
  const deliver = (data) =>
    session.send("ServiceWorker.deliverPushMessage", { origin: BASE, registrationId, data });
  return deliver;
}

/** The notifications that the worker shows. */
function shown(page) {
  return page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    const all = await registration.getNotifications();
    return all.map(({ title, body, tag, data }) => ({ title, body, tag, url: data.url }));
  });
}

async function shownOnce(page, expected) {
  for (;;) {
    const all = await shown(page);
    if (expected(all)) return all;
    await page.waitForTimeout(20);
  }
}

test("permission is requested by a click only, and the subscription ends by another", async (t) => {
  const { page, endpoint } = await openBell(t, { permission: "notifications" });
  const sent = subscriptionsOf(page);
  await page.getByRole("button", { name: OFFER }).waitFor();
  const before = await page.evaluate(async () => {
    return (await navigator.serviceWorker.getRegistrations()).length;
  });
  assert.equal(before, 0, "no worker before the click");
  await page.getByRole("button", { name: OFFER }).click();
  await page.getByRole("button", { name: STOP }).waitFor();
  assert.deepEqual(
    sent.map(({ method, body }) => [method, body.endpoint]),
    [["POST", endpoint]],
  );
  const key = await api("GET", "/v1/push/application-server-key");
  const bytes = [...Buffer.from(key.application_server_key, "base64url")];
  const kept = await page.evaluate(() => localStorage.getItem("test.subscription"));
  assert.deepEqual(JSON.parse(kept), bytes, "the browser subscribed for the shop's key");

  // The next page knows it, and does not send it again.
  await page.reload();
  await page.locator("notification-bell summary").click();
  await page.getByRole("button", { name: STOP }).waitFor();
  assert.equal(sent.length, 1);
  await page.getByRole("button", { name: STOP }).click();
  await page.getByRole("button", { name: OFFER }).waitFor();
  assert.deepEqual(sent[1], { method: "DELETE", body: { endpoint } });
  assert.equal(await page.evaluate(() => localStorage.getItem("test.subscription")), null);
});

test("subscription for another key of the shop is replaced when a page opens", async (t) => {
  const { page } = await openBell(t, { permission: "notifications" });
  await page.getByRole("button", { name: OFFER }).click();
  await page.getByRole("button", { name: STOP }).waitFor();
  const right = await page.evaluate(() => {
    const kept = localStorage.getItem("test.subscription");
    localStorage.setItem("test.subscription", JSON.stringify([4, 1, 2]));
    return kept;
  });
  const posted = page.waitForRequest((request) => request.method() === "POST");
  await page.reload();
  await posted;
  await page.locator("notification-bell summary").click();
  await page.getByRole("button", { name: STOP }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.getItem("test.subscription")), right);
});

test("browser that blocks notifications, or has none, is explained", async (t) => {
  const denied = await open(t, "about:blank");
  await denied.addInitScript(() => {
    Object.defineProperty(Notification, "permission", { get: () => "denied" });
  });
  await denied.goto(`${BASE}/creators`);
  await denied.locator("notification-bell summary").click();
  await denied.getByText("The browser blocks notifications of this shop").waitFor();
  const without = await open(t, "about:blank");
  await without.addInitScript(() => delete window.PushManager);
  await without.goto(`${BASE}/creators`);
  await without.locator("notification-bell summary").click();
  await without.getByText("This browser cannot show notifications").waitFor();
  for (const page of [denied, without])
    assert.equal(await page.locator("push-choice button").isVisible(), false);
});

test("failed subscription is reported, and the page offers it again", async (t) => {
  const { page } = await openBell(t, { permission: "notifications", expected: [/503/] });
  await page.route("**/push-subscriptions", (route) =>
    route.fulfill({
      status: 503,
      contentType: "application/problem+json",
      body: JSON.stringify({ code: "unavailable", detail: "The database is unreachable." }),
    }),
  );
  await page.getByRole("button", { name: OFFER }).click();
  await page.locator("toast-list").getByText("did not respond in time").waitFor();
  await page.getByRole("button", { name: OFFER }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.getItem("test.subscription")), null);
});

test("worker shows the message of a closed page, once for each tag", async (t) => {
  const drop = await createDrop({});
  const { page } = await openBell(t, { permission: "notifications" });
  await page.getByRole("button", { name: OFFER }).click();
  await page.getByRole("button", { name: STOP }).waitFor();
  const deliver = await workerOf(page);
  const message = { title: drop.name, body: "The drop has started.", url: `/drops/${drop.id}` };
  await deliver(JSON.stringify({ ...message, tag: "a" }));
  assert.deepEqual(await shownOnce(page, (all) => all.length === 1), [{ ...message, tag: "a" }]);
  const later = { ...message, body: "The drop is sold out.", tag: "a" };
  await deliver(JSON.stringify(later));
  const isReplaced = (all) => all.length === 1 && all[0].body === later.body;
  assert.deepEqual(await shownOnce(page, isReplaced), [later]);
  // A message that the worker cannot read is shown as well: the browser requires it.
  await deliver("not JSON");
  const all = await shownOnce(page, (found) => found.length === 2);
  assert.ok(all.some(({ title, url }) => title === "News from the shop" && url === "/"));
});

/** Clicks the newest notification of the worker, which a browser without a screen cannot do. */
async function clickNotification(worker) {
  await worker.evaluate(async () => {
    const notification = (await self.registration.getNotifications()).at(-1);
    // Only a click of a person may focus a tab or open one, so the calls are recorded.
    self.opened = [];
    self.clients.openWindow = async (url) => void self.opened.push(url);
    WindowClient.prototype.focus = async function focus() {
      self.opened.push(`focus ${this.url}`);
      return this;
    };
    const waits = [];
    const event = new NotificationEvent("notificationclick", { notification });
    event.waitUntil = (promise) => waits.push(promise);
    self.dispatchEvent(event);
    await Promise.all(waits);
  });
  return await worker.evaluate(() => self.opened);
}

test("click on a notification opens the page of its drop, in the tab that has it", async (t) => {
  const drop = await createDrop({});
  const { page } = await openBell(t, { permission: "notifications" });
  const started = page.context().waitForEvent("serviceworker");
  await page.getByRole("button", { name: OFFER }).click();
  await page.getByRole("button", { name: STOP }).waitFor();
  const worker = await started;
  const deliver = await workerOf(page);
  const show = async (url) => {
    await deliver(JSON.stringify({ title: drop.name, body: "It has started.", url, tag: "a" }));
    await shownOnce(page, (all) => all.length === 1 && all[0].url === url);
  };
  const address = `${BASE}/drops/${drop.id}`;
  await show(`/drops/${drop.id}`);
  assert.deepEqual(await clickNotification(worker), [address]);
  await shownOnce(page, (all) => all.length === 0);
  const tab = await open(t, `/drops/${drop.id}`, { within: page.context() });
  await show(`/drops/${drop.id}`);
  assert.deepEqual(await clickNotification(worker), [`focus ${address}`]);
  await tab.close();
  // A message cannot lead to another site.
  await show("https://other.example/drops");
  assert.deepEqual(await clickNotification(worker), [`${BASE}/`]);
});

test("pages load from the server, not from the worker", async (t) => {
  const { page } = await openBell(t, { permission: "notifications" });
  await page.getByRole("button", { name: OFFER }).click();
  await page.getByRole("button", { name: STOP }).waitFor();
  const response = await page.goto(`${BASE}/creators`);
  assert.equal(response.fromServiceWorker(), false);
  assert.deepEqual(await page.evaluate(() => caches.keys()), []);
  const { headers } = await fetch(`${BASE}/push.js`, {
    headers: { authorization: `Bearer ${ADMIN_KEY}` },
  });
  assert.match(headers.get("content-type"), /^text\/javascript/);
  assert.equal(headers.get("cache-control"), "no-cache");
  assert.match(headers.get("content-security-policy"), /worker-src 'self'/);
});
