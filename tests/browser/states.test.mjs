// Drafts and pauses, codes and the catalogue, as an administrator and a buyer see them.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import {
  BASE,
  api,
  close,
  createDrop,
  eventually,
  expectText,
  launch,
  open,
  openDashboard,
  openLive,
  openRoom,
} from "./lib.mjs";

before(launch);
after(close);

const row = (page, { id }) => page.locator(`tr[data-drop-id="${id}"]`);
const record = (page, id) => page.locator(`tr[data-id="${id}"]`);

/** Presses the button of a dialog that asks. */
async function confirm(page, words) {
  await page.getByRole("dialog").getByRole("button", { name: words, exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

test("a drop is paused and resumed in the dashboard, and its page shows it", async (t) => {
  const drop = await createDrop({ total_stock: 3 });
  const shop = await openLive(t, `/drops/${drop.id}`);
  const dashboard = await openDashboard(t);
  await expectText(dashboard.locator("#signed-in"), "admin");
  await row(dashboard, drop).getByRole("button", { name: "Pause" }).click();
  await expectText(dashboard.getByRole("dialog"), /Existing holds can still be bought/);
  await confirm(dashboard, "Pause the drop");
  await expectText(row(dashboard, drop), /Paused/);
  await expectText(shop.locator("hold-panel"), /This drop is paused/);
  assert.equal(await shop.getByRole("button", { name: "Hold it" }).count(), 0);

  await row(dashboard, drop).getByRole("button", { name: "Resume" }).click();
  await confirm(dashboard, "Resume the drop");
  await expectText(row(dashboard, drop), /On sale/);
  await shop.getByRole("button", { name: "Hold it" }).click();
  await expectText(shop.locator("hold-panel"), /held for you/);
  await expectText(dashboard.locator("event-log"), /Drop resumed.*by admin/);
});

test("a draft is hidden from the shop until it is published", async (t) => {
  const name = `Prototype ${randomUUID()}`;
  const dashboard = await openDashboard(t);
  await dashboard.getByRole("button", { name: "New drop" }).click();
  const dialog = dashboard.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByLabel("Price").fill("20");
  await dialog.getByLabel("Publish").selectOption("draft");
  await dialog.getByRole("button", { name: "Create the drop" }).click();
  await dialog.waitFor({ state: "detached" });
  const drafts = await api("GET", "/v1/drops?status=draft");
  const drop = drafts.data.find((one) => one.name === name);
  await expectText(row(dashboard, drop), /Draft/);
  const missing = await open(t, `/drops/${drop.id}`, { expected: [/status of 404/] });
  await expectText(missing.locator("main"), /not/i);

  await row(dashboard, drop).getByRole("button", { name: "Publish" }).click();
  await confirm(dashboard, "Publish the drop");
  await expectText(row(dashboard, drop), /On sale/);
  const shop = await openLive(t, `/drops/${drop.id}`);
  await shop.getByRole("button", { name: "Hold it" }).waitFor();
});

test("codes are created in the room of a drop and shown once", async (t) => {
  const drop = await createDrop({ access: "code" });
  const page = await openRoom(t, `/admin/drops/${drop.id}`);
  await page.getByRole("button", { name: "New codes" }).click();
  await page.getByLabel("Number of codes").fill("3");
  await page.getByRole("button", { name: "Create the codes" }).click();
  const codes = page.getByLabel("Codes", { exact: true });
  await codes.waitFor();
  const shown = (await codes.inputValue()).split("\n");
  assert.equal(shown.length, 3);
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download CSV" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "codes.csv");
  const hold = await fetch(`${BASE}/v1/drops/${drop.id}/holds`, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": randomUUID() },
    body: JSON.stringify({ buyer_id: "ann", code: shown[2] }),
  });
  assert.equal(hold.status, 201);
});

test("creators and products are made, edited and deleted in the catalogue", async (t) => {
  const id = randomUUID();
  const page = await openRoom(t, "/admin/catalogue", { expected: [/status of 404/] });
  const fill = async (fields, words) => {
    const dialog = page.getByRole("dialog");
    for (const [label, value] of Object.entries(fields))
      await dialog.getByLabel(label, { exact: true }).fill(value);
    await confirm(page, words);
  };
  await page.getByRole("button", { name: "New creator" }).click();
  await fill({ Id: `c-${id}`, Name: "Nord" }, "Save");
  await expectText(record(page, `c-${id}`), /Nord/);
  await page.getByRole("button", { name: "New product" }).click();
  const variants = "m | Medium | BOOT-M\nl | Large";
  const product = { Id: `p-${id}`, Title: "Boot", "Variants, one on each line": variants };
  await fill(product, "Save");
  await expectText(record(page, `p-${id}`), /Boot.*Medium, Large/);
  const stored = await api("GET", `/v1/products/p-${id}`);
  assert.deepEqual(
    stored.variants.map(({ sku }) => sku),
    ["BOOT-M", null],
  );

  await record(page, `p-${id}`).getByRole("button", { name: "Edit" }).click();
  await fill({ Title: "Winter boot" }, "Save");
  await expectText(record(page, `p-${id}`), /Winter boot/);
  for (const of of [`p-${id}`, `c-${id}`]) {
    await record(page, of).getByRole("button", { name: "Delete" }).click();
    await expectText(page.getByRole("dialog"), /This cannot be undone/);
    await confirm(page, "Delete");
    await eventually("the record is deleted", async () => (await record(page, of).count()) === 0);
  }
});
