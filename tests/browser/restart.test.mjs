// Restarts of the server, and outages of its database, under an open page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  card,
  close,
  createDrop,
  expectText,
  launch,
  openDashboard,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

test("a page survives a restart of the server: it shows its age, reconnects, and keeps the hold", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const page = await openLive(t, "/", {
    // A server that starts responds with 503 until it has read the log.
    expected: [/ERR_(CONNECTION_|INCOMPLETE_|EMPTY_|NETWORK_)/, /status of 503/],
  });
  await card(page, drop).getByRole("button", { name: "Hold it" }).click();
  await card(page, drop).locator(".time").waitFor();

  await control("kill");
  await expectText(page.locator("connection-state"), /^Reconnecting… as of \d\d:\d\d:\d\d$/);
  await card(page, drop).getByRole("button", { name: /^Buy/ }).click();
  await expectText(card(page, drop), "Buying…");
  await control("start");

  await expectText(page.locator("connection-state"), "Live");
  await expectText(card(page, drop).locator(".outcome"), "Purchase complete.");
  assert.deepEqual((await api("GET", `/v1/drops/${drop.id}`)).stock, {
    total: 5,
    available: 4,
    held: 0,
    sold: 1,
  });
  await expectText(card(page, drop).locator(".units"), "4 left of 5");
});

test("every page reports an outage of the database while it lasts", async (t) => {
  const drop = await createDrop({ hold_seconds: 600 });
  const expected = [/status of 503/];
  const [shop, own, dashboard] = [
    await openLive(t, "/", { expected }),
    await openLive(t, `/drops/${drop.id}`, { expected }),
    await openDashboard(t, { expected }),
  ];
  await card(shop, drop).getByRole("button", { name: "Hold it" }).waitFor();
  await control("away");
  // A page that sends a request learns of the outage immediately; the others poll.
  await card(shop, drop).getByRole("button", { name: "Hold it" }).click();
  await expectText(card(shop, drop), "No response yet, retrying.");
  for (const page of [shop, own])
    await expectText(
      page.locator("service-note"),
      "Holds and purchases are temporarily unavailable.",
    );
  await expectText(dashboard.locator("service-note"), "The server cannot write to the event log.");
  for (const page of [shop, own, dashboard])
    await expectText(page.locator("connection-state"), "Read-only");
  await control("back");
  for (const page of [shop, own, dashboard]) {
    await page.locator('connection-state[data-state="live"]').waitFor();
    await page.locator("service-note p").waitFor({ state: "detached" });
  }
  await card(shop, drop).getByRole("button", { name: /^Buy/ }).waitFor();
});

/** Sends a command to the test that started the server. */
async function control(command) {
  const response = await fetch(`${process.env.HOLDFAST_CONTROL}/${command}`, { method: "POST" });
  assert.equal(response.status, 204);
}
