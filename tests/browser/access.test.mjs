// Drops for code holders, drops that are not for everyone, and stocks without numbers.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  card,
  close,
  createDrop,
  edit,
  expectText,
  launch,
  openDashboard,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

const panel = (page) => page.locator("hold-panel");

async function oneCode(drop, more = {}) {
  const made = await api("POST", `/v1/drops/${drop.id}/codes`, { count: 1, ...more });
  return made.codes[0];
}

async function holdWith(page, code) {
  await page.getByLabel("Access code").fill(code);
  await page.getByRole("button", { name: "Hold it" }).click();
}

test("a drop for code holders is held with a code", async (t) => {
  const drop = await createDrop({ access: "code", hold_seconds: 600 });
  const code = await oneCode(drop);
  const page = await openLive(t, `/drops/${drop.id}`, { expected: [/40[39]/] });
  await page.getByRole("button", { name: "Hold it" }).click();
  await expectText(panel(page), /requires an access code/);
  await holdWith(page, "wrong");
  await expectText(panel(page), /no such access code/);
  await holdWith(page, code.toLowerCase());
  await page.getByRole("button", { name: /^Buy for/ }).click();
  await expectText(panel(page), /Purchase complete/);
});

test("a code opens a drop on its page before the start", async (t) => {
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const drop = await createDrop({ access: "code", hold_seconds: 600, starts_at: soon });
  const code = await oneCode(drop, { opens_at: "2020-01-01T00:00:00Z" });
  const page = await openLive(t, `/drops/${drop.id}`);
  await expectText(panel(page), /Starts in/);
  await holdWith(page, code);
  await page.getByRole("button", { name: /^Buy for/ }).waitFor();
});

test("a stock without numbers is shown as a level", async (t) => {
  const drop = await createDrop({ show_stock: "level", total_stock: 10, max_per_hold: 9 });
  const page = await openLive(t, "/");
  const stock = card(page, drop).locator("stock-bar");
  await expectText(stock, /In stock/);
  const hold = (buyer_id, quantity) =>
    api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id, quantity });
  await hold("ann", 9);
  await expectText(stock, /Only a few left/);
  await hold("bob", 1);
  await expectText(stock, /None left/);
  assert.doesNotMatch(await card(page, drop).innerText(), /\d+ (left|held|sold)/);
});

test("the front page has public drops only, the dashboard all with their numbers", async (t) => {
  const [shown, hidden] = [await createDrop(), await createDrop({ visibility: "hidden" })];
  const level = await createDrop({ show_stock: "level" });
  const page = await openLive(t, "/");
  await card(page, shown).waitFor();
  assert.equal(await card(page, hidden).count(), 0);
  const dashboard = await openDashboard(t);
  const row = (drop) => dashboard.locator("drop-table tr", { hasText: drop.name });
  await row(hidden).waitFor();
  await expectText(row(level), /5/);
  // A published drop appears without a reload.
  await edit(hidden, { visibility: "public" });
  await card(page, hidden).waitFor();
});
