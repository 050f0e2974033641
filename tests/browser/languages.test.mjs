// The shop in German and in Hebrew: a purchase, an order and the element for other sites from
// start to end, with no English left, no scrolling to the side, and no fault of accessibility.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import {
  BASE,
  LOOKS,
  OTHER_SITE,
  api,
  card,
  close,
  context,
  createDrop,
  expectText,
  fits,
  launch,
  open,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

const catalogue = (tag) =>
  JSON.parse(readFileSync(new URL(`../../api/src/web/texts/${tag}.json`, import.meta.url), "utf8"));
const english = catalogue("en");
/** The languages with a name for each test. */
const LANGUAGES = [
  ["de", "German"],
  ["he", "Hebrew"],
];

/** Returns the text of a key. */
function text(tag, key, values = {}) {
  let message = catalogue(tag)[key];
  if (typeof message !== "string")
    message = message[new Intl.PluralRules(tag).select(values.count)] ?? message.other;
  return message.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

const forms = (message) =>
  typeof message === "string"
    ? [message]
    : Object.entries(message).flatMap(([name, form]) => (name === "type" ? [] : [form]));

/** The patterns of English texts that another language has otherwise. */
function patternsOfEnglish(tag) {
  const own = catalogue(tag);
  return Object.entries(english).flatMap(([key, message]) => {
    if (key.startsWith("@")) return [];
    const same = new Set(forms(own[key]));
    return forms(message)
      .filter((form) => !same.has(form) && /[a-z]{3}/i.test(form.replace(/\{\w+\}/g, "")))
      .map((form) => form.split(/\{\w+\}/).map((part) => escaped(part)))
      .map((parts) => new RegExp(`^${parts.join(".+")}$`));
  });
}

function escaped(words) {
  return words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Asserts that nothing that people read, or hear, is in English. */
async function assertTranslated(page, tag) {
  const words = await page.evaluate(() => {
    const found = [document.title];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const parent = walker.currentNode.parentElement;
      if (!parent?.closest("script, style, noscript, [lang]:not(html)"))
        found.push(walker.currentNode.textContent ?? "");
    }
    for (const element of document.body.querySelectorAll("[aria-label], [placeholder]"))
      found.push(element.ariaLabel ?? "", element.getAttribute("placeholder") ?? "");
    return found.map((one) => one.trim()).filter(Boolean);
  });
  const patterns = patternsOfEnglish(tag);
  const left = words.filter((one) => patterns.some((pattern) => pattern.test(one)));
  assert.deepEqual(left, [], `English on ${page.url()}`);
}

const press = (page, name) => page.getByRole("button", { name, exact: true }).click();

for (const [tag, name] of LANGUAGES) {
  test(`a unit is bought in ${name} from start to end on a phone`, async (t) => {
    const drop = await createDrop({ total_stock: 3, hold_seconds: 600, max_per_hold: 2 });
    const within = await context(t, { ...LOOKS.phone, locale: tag });
    const page = await openLive(t, "/", { within });
    assert.equal(await page.locator("html").getAttribute("lang"), tag);
    await expectText(card(page, drop), text(tag, "status.live"));
    await assertTranslated(page, tag);
    assert.ok(await fits(page), "the front page fits");

    await page.goto(`${BASE}/drops/${drop.id}`);
    const panel = page.locator("hold-panel");
    await expectText(panel, text(tag, "action.hold"));
    await assertTranslated(page, tag);
    assert.ok(await fits(page), "the page of the drop fits");
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(
      violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]),
      [],
    );
    await press(page, text(tag, "action.hold"));
    await expectText(panel, text(tag, "hold.held", { count: 1 }));
    await assertTranslated(page, tag);
    await panel.locator("button.primary:not([aria-disabled])").click();
    await expectText(panel, text(tag, "bought.title"));
    await expectText(
      page.locator("drop-sheet .standing"),
      text(tag, "standing.bought", { count: 1 }),
    );
    await assertTranslated(page, tag);
    assert.ok(await fits(page), "the result fits");
    assert.equal((await api("GET", `/v1/drops/${drop.id}`)).stock.sold, 1);
  });

  test(`an order is placed and paid in ${name}`, async (t) => {
    const drop = await createDrop({ hold_seconds: 600 });
    const within = await context(t, { ...LOOKS.phone, locale: tag });
    const page = await openLive(t, `/drops/${drop.id}`, { within });
    await press(page, text(tag, "action.add_to_cart"));
    await expectText(page.locator("cart-count"), "1");
    await page.goto(`${BASE}/cart`);
    await expectText(page.locator("cart-sheet"), text(tag, "cart.place"));
    await expectText(page.locator("cart-sheet .note"), text(tag, "cart.left", { count: 5 }));
    await assertTranslated(page, tag);
    assert.ok(await fits(page), "the cart fits");
    await press(page, text(tag, "cart.place"));
    await page.waitForURL(/\/orders\//);
    await expectText(page.locator("order-sheet h1"), text(tag, "order.title.pending"));
    await expectText(page.locator("order-sheet"), text(tag, "scenario.pays_twice_hint"));
    await assertTranslated(page, tag);
    assert.ok(await fits(page), "the order fits");
    await page.locator("order-sheet button.primary:not([aria-disabled])").click();
    await expectText(page.locator("order-sheet h1"), text(tag, "order.title.paid"));
    await expectText(page.locator("order-sheet"), text(tag, "order.step.unfulfilled"));
    await assertTranslated(page, tag);
    await page.goto(`${BASE}/creators`);
    await expectText(page.locator("h1"), text(tag, "nav.creators"));
    await assertTranslated(page, tag);
    assert.ok(await fits(page), "the creators fit");
  });

  test(`a refusal and the waitlist are in ${name}`, async (t) => {
    const drop = await createDrop({ total_stock: 1, hold_seconds: 600 });
    const expected = [/status of 409/];
    const page = await openLive(t, `/drops/${drop.id}`, { locale: tag, expected });
    const panel = page.locator("hold-panel");
    // Another buyer is first, and this page does not know it yet.
    await page.route(/\/holds$/, async (route) => {
      await api("POST", `/v1/drops/${drop.id}/holds`, { buyer_id: "first" }).catch(() => null);
      await route.continue();
    });
    await press(page, text(tag, "action.hold"));
    await expectText(panel, text(tag, "refusal.sold_out"));
    await assertTranslated(page, tag);
    await press(page, text(tag, "action.join"));
    await expectText(panel, text(tag, "waitlist.you_rank", { count: 1 }));
    await assertTranslated(page, tag);
  });
}

test("right-to-left pages mirror their layout", async (t) => {
  const drop = await createDrop();
  const page = await openLive(t, "/", { locale: "he" });
  assert.equal(await page.locator("html").getAttribute("dir"), "rtl");
  const status = await card(page, drop).locator(".status").boundingBox();
  const frame = await card(page, drop).locator(".frame").boundingBox();
  const middle = (box) => box.x + box.width / 2;
  assert.ok(middle(status) > middle(frame), "the status is at the right, where lines begin");
  const brand = await page.locator(".brand").boundingBox();
  assert.ok(brand.x > 640, "the brand is at the right");
});

test("a chosen language is kept, and the footer offers the others", async (t) => {
  const page = await openLive(t, "/", { locale: "en" });
  await page.locator(".languages").getByText("Deutsch").click();
  await page.waitForURL(/\?lang=de$/);
  await expectText(page.locator("h1"), text("de", "shop.title"));
  await page.goto(`${BASE}/cart`);
  await expectText(page.locator("h1"), text("de", "cart.title"));
  await page.locator(".languages").getByText("English").click();
  await expectText(page.locator("h1"), "Your cart");
});

test("the element for other sites has the language of its attribute", async (t) => {
  const drop = await createDrop({ total_stock: 4, hold_seconds: 600 });
  const page = await open(t, "about:blank", { origins: [BASE, OTHER_SITE] });
  const element = (more) =>
    `<holdfast-drop drop-id="${drop.id}" buyer-id="ann-${more}" ${more}></holdfast-drop>`;
  const body = `${element("")}${element('lang="de"')}<div lang="he">${element("")}</div>`;
  await page.goto(`${OTHER_SITE}/?body=${encodeURIComponent(body)}`);
  const [plain, german, hebrew] = [0, 1, 2].map((index) =>
    page.locator("holdfast-drop").nth(index),
  );
  for (const [one, tag] of [
    [plain, "en"],
    [german, "de"],
    [hebrew, "he"],
  ]) {
    await expectText(one.locator(".stock"), text(tag, "embed.left", { available: 4, total: 4 }));
    await expectText(one.locator(".actions"), text(tag, "action.hold"));
  }
  assert.equal(await hebrew.locator(".card").getAttribute("dir"), "rtl");
  await german.getByRole("button", { name: text("de", "action.hold") }).click();
  await expectText(german.locator(".message"), text("de", "embed.held", { count: 1 }));
  await expectText(hebrew.locator(".stock"), text("he", "embed.left", { available: 3, total: 4 }));
  await german.evaluate((one) => one.setAttribute("lang", "en"));
  await expectText(german.locator(".actions"), text("en", "action.release"));
});
