// Creators and products: the follow and remind buttons, the sizes of a product, and the bell.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { api, close, createDrop, expectText, launch, open, openLive } from "./lib.mjs";

before(launch);
after(close);

/** Creates a creator and a product with two sizes, each a drop. */
async function catalogue() {
  const creator = `nord-${randomUUID()}`;
  const product = `jacket-${randomUUID()}`;
  await api("PUT", `/v1/creators/${creator}`, { name: "Atelier Nord", description: "Coats." });
  const variants = [
    { id: "m", name: "Size M" },
    { id: "l", name: "Size L" },
  ];
  const body = { title: "Harbour jacket", creator_id: creator, variants };
  await api("PUT", `/v1/products/${product}`, body);
  const size = (variant_id) =>
    createDrop({ creator_id: creator, product_id: product, variant_id, hold_seconds: 600 });
  const [l, m] = [await size("l"), await size("m")];
  return { creator, product, m, l };
}

test("a follower sees new drops of the creator in the bell, in every tab", async (t) => {
  const { creator } = await catalogue();
  const page = await open(t, `/creators/${creator}`);
  await expectText(page.locator("h1"), "Atelier Nord");
  await expectText(page.locator("#products"), "2 drops on sale");
  await page.getByRole("button", { name: "Follow" }).click();
  await page.getByRole("button", { name: "Following", pressed: true }).waitFor();
  await expectText(page.locator("#followers"), "1 follower");

  const second = await open(t, "/creators", { within: page.context() });
  const own = second.locator("li", { hasText: "Atelier Nord" }).first();
  await own.getByRole("button", { name: "Following" }).waitFor();
  const drop = await createDrop({ creator_id: creator });
  for (const one of [page, second]) {
    await expectText(one.locator("notification-bell .unread"), "1");
    await expectText(one.locator("toast-list"), `${drop.name} has started.`);
  }
  await page.locator("notification-bell summary").click();
  const link = page.locator("notification-bell li a").first();
  assert.equal(await link.getAttribute("href"), `/drops/${drop.id}`);
  await page.locator("notification-bell .unread").waitFor({ state: "hidden" });

  await page.reload();
  await page.getByRole("button", { name: "Following" }).click();
  await page.getByRole("button", { name: "Follow", exact: true }).waitFor();
  await expectText(page.locator("#followers"), "0 followers");
});

test("a product shows its sizes in the shop's order, live, and each can be held", async (t) => {
  const { product, m, l } = await catalogue();
  const page = await openLive(t, `/products/${product}`);
  await expectText(page.locator("h1"), "Harbour jacket");
  await expectText(page.locator("#creator"), "Atelier Nord");
  assert.deepEqual(await page.locator(".size h3").allInnerTexts(), ["Size M", "Size L"]);
  const card = (drop) => page.locator(`drop-card[data-drop-id="${drop.id}"]`);
  await card(m).getByRole("button", { name: "Hold it" }).click();
  await expectText(card(m).locator(".units"), "4 left of 5 · 1 held");
  await expectText(card(l).locator(".units"), "5 left of 5");
  const remind = page.locator(".size", { has: card(l) }).getByRole("button", { name: "Remind me" });
  await remind.click();
  await page.getByRole("button", { name: "You will be reminded" }).waitFor();
});

test("unknown creators and products are reported", async (t) => {
  const expected = [/404/];
  const creator = await open(t, "/creators/unknown", { expected });
  await creator.getByRole("heading", { name: "Creator not found" }).waitFor();
  const product = await open(t, "/products/unknown", { expected });
  await product.getByRole("heading", { name: "Product not found" }).waitFor();
});
