// A shop below a path of another site, behind nginx: no page asks for anything outside of the path.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  card,
  close,
  context,
  createDrop,
  expectText,
  launch,
  open,
  openDashboard,
  openLive,
  withPushService,
} from "./lib.mjs";

before(launch);
after(close);

test("a unit is held and bought, and every page follows the stream", async (t) => {
  const drop = await createDrop({ total_stock: 3, hold_seconds: 600 });
  const within = await context(t);
  const shop = await openLive(t, "/", { within });
  await card(shop, drop).getByRole("link").click();
  await shop.waitForURL(`${BASE}/drops/${drop.id}`);
  await shop.locator('connection-state[data-state="live"]').waitFor();
  await expectText(shop.locator("stock-bar"), "3 left");
  await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "another" });
  await expectText(shop.locator("stock-bar"), "2 left");
  await shop.getByRole("button", { name: "Hold it" }).click();
  await shop.getByRole("button", { name: /^Buy for/ }).click();
  await expectText(shop.locator("hold-panel .outcome"), "Purchase complete.");
  // Another shop of this host would have names of its own.
  const names = await shop.evaluate(() => Object.keys(localStorage));
  assert.ok(names.length > 0);
  for (const name of names) assert.match(name, /^\/shop/);
  const path = `${new URL(BASE).pathname}/`;
  assert.ok((await within.cookies()).every((cookie) => cookie.path === path.slice(0, -1)));
});

test("an order is placed from the cart, and its page is read again", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, `/drops/${drop.id}`);
  await page.getByRole("button", { name: "Add to cart" }).click();
  await page.getByRole("link", { name: /^Cart/ }).click();
  await page.waitForURL(`${BASE}/cart`);
  await page.locator("cart-sheet li").waitFor();
  await page.getByRole("button", { name: "Place the order" }).click();
  await page.waitForURL(/\/shop\/orders\/[0-9a-f-]+$/);
  await page.locator("order-sheet li").first().waitFor();
});

test("an administrator signs in, and reads each room and the reference", async (t) => {
  const page = await openDashboard(t);
  for (const room of ["Orders", "Revenue", "Buyers", "Catalogue", "Webhooks", "Needs attention"]) {
    await page.getByRole("link", { name: room }).click();
    await page.locator("#sign-out:enabled").waitFor();
  }
  await page.getByRole("link", { name: "API", exact: true }).click();
  await page.waitForURL(`${BASE}/docs`);
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.name, cookie.path, cookie.secure], ["holdfast_admin", "/shop", true]);
});

test("the service worker of Web Push has the scope of the shop", async (t) => {
  const within = await context(t);
  await within.grantPermissions(["notifications"], { origin: new URL(BASE).origin });
  const page = await open(t, "about:blank", { within });
  await withPushService(page);
  await page.goto(`${BASE}/creators`);
  await page.locator("notification-bell summary").click();
  await page.getByRole("button", { name: "Notify me when the page is closed" }).click();
  await page.getByRole("button", { name: "Stop these notifications" }).waitFor();
  const worker = await page.evaluate(async () => {
    const { scope, active } = await navigator.serviceWorker.ready;
    return [scope, active.scriptURL];
  });
  assert.deepEqual(worker, [`${BASE}/`, `${BASE}/push.js`]);
});
