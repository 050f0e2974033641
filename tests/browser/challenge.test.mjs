// Drops with a challenge: the page solves it before a hold, in the shop, in the cart and in the
// element for other sites.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  BASE,
  LOOKS,
  OTHER_SITE,
  api,
  close,
  createDrop,
  edit,
  expectText,
  launch,
  open,
  openDashboard,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

const panel = (page) => page.locator("hold-panel");
const proof = (difficulty) => ({ challenge: { kind: "proof_of_work", difficulty } });
const stock = async (drop) => (await api("GET", `/v1/drops/${drop.id}`)).stock;
/** The browser logs the response that has the challenge. */
const expected = [/status of 403/];

for (const [name, look] of Object.entries(LOOKS))
  test(`a buyer buys from a drop with a challenge (${name})`, async (t) => {
    const drop = await createDrop({ ...proof(2), hold_seconds: 600 });
    const page = await openLive(t, `/drops/${drop.id}`, { expected, ...look });
    await page.getByRole("button", { name: "Hold it" }).click();
    await page.getByRole("button", { name: /^Buy for/ }).click();
    await expectText(panel(page), /Purchase complete/);
    assert.equal((await stock(drop)).sold, 1);
  });

/** Derivations that take longer, so that the work outlasts the steps of a test. */
function delayWork(page) {
  return page.evaluate(() => {
    const derive = crypto.subtle.deriveBits.bind(crypto.subtle);
    crypto.subtle.deriveBits = async (...how) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return derive(...how);
    };
  });
}

test("the cart shows the work for an order and can stop it", async (t) => {
  const drop = await createDrop({ ...proof(20), hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`, { expected });
  await page.getByRole("button", { name: "Add to cart" }).click();
  await page.goto(`${BASE}/cart`);
  await delayWork(page);
  const sheet = page.locator("cart-sheet");
  await sheet.getByRole("button", { name: "Place the order" }).click();
  await expectText(sheet, /Checking this browser… [1-9]\d? %/);
  await sheet.getByRole("button", { name: "Stop" }).click();
  await expectText(sheet, /You stopped the check/);
  assert.equal((await stock(drop)).held, 0);
});

test("the page shows the work and can stop it", async (t) => {
  const drop = await createDrop({ ...proof(20), hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`, { expected });
  await delayWork(page);
  await page.getByRole("button", { name: "Hold it" }).click();
  await expectText(panel(page), /Checking this browser… [1-9]\d? %/);
  await page.getByRole("button", { name: "Stop" }).click();
  await expectText(panel(page), /You stopped the check/);
  await page.getByRole("button", { name: "Hold it" }).waitFor();
  assert.equal((await stock(drop)).held, 0);
});

test("an edit that requires more work during the work is solved as well", async (t) => {
  const drop = await createDrop({ ...proof(1), hold_seconds: 600 });
  const page = await openLive(t, `/drops/${drop.id}`, { expected });
  let isEdited = false;
  await page.route(`**/v1/drops/${drop.id}/holds`, async (route) => {
    const isSolved = route.request().headers()["challenge-solution"] !== undefined;
    if (isSolved && !isEdited) {
      isEdited = true;
      await edit(drop, proof(2));
    }
    await route.continue();
  });
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: /^Buy for/ }).waitFor();
  assert.ok(isEdited);
});

test("a page without crypto.subtle says why it cannot hold", async (t) => {
  const drop = await createDrop(proof(1));
  const page = await openLive(t, `/drops/${drop.id}`, { expected });
  await page.evaluate(() => Object.defineProperty(crypto, "subtle", { value: undefined }));
  await page.getByRole("button", { name: "Hold it" }).click();
  await expectText(panel(page), /works over HTTPS only/);
});

test("the element holds on a page of another site", async (t) => {
  const drop = await createDrop({ ...proof(2), hold_seconds: 600 });
  const page = await open(t, "about:blank", { origins: [BASE, OTHER_SITE], expected });
  const body = `<holdfast-drop drop-id="${drop.id}" buyer-id="ann"></holdfast-drop>`;
  await page.goto(`${OTHER_SITE}/?body=${encodeURIComponent(body)}`);
  await page.getByRole("button", { name: "Hold it" }).click();
  await page.getByRole("button", { name: /^Buy for/ }).waitFor();
  assert.equal((await stock(drop)).held, 1);
});

test("the dashboard sets a challenge and removes it", async (t) => {
  const drop = await createDrop();
  const page = await openDashboard(t);
  const row = page.locator("drop-table tr", { hasText: drop.name });
  const save = async (value) => {
    await row.getByRole("button", { name: "Edit" }).click();
    const dialog = page.getByRole("dialog");
    const field = dialog.getByLabel("Challenge before a hold");
    if (!(await field.isVisible())) await dialog.getByText("More", { exact: true }).click();
    await field.fill(value);
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "hidden" });
    return (await api("GET", `/v1/drops/${drop.id}`)).challenge;
  };
  assert.deepEqual(await save("7"), proof(7).challenge);
  assert.equal(await save(""), null);
});
