// A server, or its database, that goes away under an open page, and comes back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, card, close, createDrop, launch, openDashboard, openLive, says } from "./lib.mjs";

before(launch);
after(close);

test("a page outlives its server: it says how old it is, comes back by itself, and the hold is still there", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, "/", { expected: [/ERR_(CONNECTION_|INCOMPLETE_|EMPTY_|NETWORK_)/] });
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).locator(".time").waitFor();

  await control("kill");
  await says(page.locator("connection-state"), /^Reconnecting… as of \d\d:\d\d:\d\d$/);
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await says(card(page, drop), "Buying…");
  await control("start");

  await says(page.locator("connection-state"), "Live");
  await says(card(page, drop).locator(".outcome"), "It is yours.");
  assert.deepEqual((await api("GET", `/v1/drops/${drop.id}`)).stock, { total: 5, available: 4, held: 0, sold: 1 });
  await says(card(page, drop).locator(".units"), "4 left of 5");
});

test("a database that is away is said to be, on every page, as long as it is", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const expected = [/status of 503/];
  const [shop, own, dashboard] = [await openLive(t, "/", { expected }), await openLive(t, `/drops/${drop.id}`, { expected }), await openDashboard(t, { expected })];
  await card(shop, drop).getByRole("button", { name: "Hold it" }).waitFor();
  await control("away");
  // Whoever asks for something learns it at once; the others look now and then.
  await card(shop, drop).getByRole("button", { name: "Hold it" }).click();
  await says(card(shop, drop), "No answer yet, asking again.");
  for (const page of [shop, own]) await says(page.locator("service-note"), "Nothing can be held or bought right now");
  await says(dashboard.locator("service-note"), "Nothing is recorded: the server cannot reach its log.");
  for (const page of [shop, own, dashboard]) await says(page.locator("connection-state"), "Not recording");
  await control("back");
  for (const page of [shop, own, dashboard]) {
    await page.locator('connection-state[data-state="live"]').waitFor();
    await page.locator("service-note p").waitFor({ state: "detached" });
  }
  await card(shop, drop).getByRole("button", { name: /^Buy/ }).waitFor();
});

/** Asks who started the server. */
async function control(what) {
  const response = await fetch(`${process.env.HOLDFAST_CONTROL}/${what}`, { method: "POST" });
  assert.equal(response.status, 204);
}
