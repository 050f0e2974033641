// Accessibility of every page, as three devices show it. Stores a screenshot of each.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import {
  LOOKS,
  OUT,
  api,
  close,
  expectText,
  fillCart,
  fillOrders,
  fillShop,
  fits,
  launch,
  open,
  openDashboard,
  openLive,
  openRoom,
} from "./lib.mjs";

let drop;
let orders;

before(async () => {
  await mkdir(OUT, { recursive: true });
  await launch();
  drop = await fillShop();
  orders = await fillOrders(drop);
  await api("POST", "/v1/admin/webhooks", {
    url: "http://127.0.0.1:9/stock",
    description: "Warehouse",
    event_types: ["purchase.confirmed"],
  });
});
after(close);

/** Opens every page in a state with content. */
const PAGES = {
  shop: async (t, look) => {
    const page = await openLive(t, "/", look);
    const panel = page.locator(`drop-card[data-drop-id="${drop.id}"]`);
    await panel.getByRole("button", { name: "Hold it" }).click();
    await panel.locator(".time").waitFor();
    return page;
  },
  drop: async (t, look) => {
    const page = await openLive(t, `/drops/${drop.id}`, look);
    await page.getByRole("button", { name: "Hold it" }).click();
    await page.locator("hold-panel .time").waitFor();
    await page.locator("#purchasers summary").click();
    await expectText(page.locator("drop-sheet .columns"), "Ada");
    return page;
  },
  cart: async (t, look) => {
    const page = await fillCart(t, [drop], look);
    await page.getByRole("button", { name: "Place the order" }).waitFor();
    return page;
  },
  order: async (t, look) => {
    const page = await fillCart(t, [drop], look);
    await page.getByRole("button", { name: "Place the order" }).click();
    await page.locator("order-sheet .time").waitFor();
    await expectText(page.locator("order-sheet"), drop.name);
    return page;
  },
  receipt: async (t, look) => {
    const page = await openLive(t, `/orders/${orders.paid.id}`, look);
    await expectText(page.locator("order-sheet"), "Partly refunded");
    return page;
  },
  orders: async (t, look) => {
    const page = await openRoom(t, "/admin/orders", look);
    await page.locator(`tr[data-id="${orders.paid.id}"]`).waitFor();
    return page;
  },
  "order-room": async (t, look) => {
    const page = await openRoom(t, `/admin/orders/${orders.paid.id}`, look);
    await expectText(page.locator("record-table"), drop.name);
    return page;
  },
  refund: async (t, look) => {
    const page = await openRoom(t, `/admin/orders/${orders.paid.id}`, look);
    await page.getByRole("button", { name: "Refund" }).click();
    await page.getByRole("dialog").waitFor();
    return page;
  },
  revenue: async (t, look) => {
    const page = await openRoom(t, "/admin/revenue", look);
    await expectText(page.locator("#by-hour"), "€");
    return page;
  },
  buyers: async (t, look) => {
    const page = await openRoom(t, "/admin/buyers?q=Dora", look);
    await expectText(page.locator("#history"), "Order paid");
    return page;
  },
  webhooks: async (t, look) => {
    const page = await openRoom(t, "/admin/webhooks", look);
    await expectText(page.locator("#endpoints"), "Warehouse");
    return page;
  },
  "new-endpoint": async (t, look) => {
    const page = await openRoom(t, "/admin/webhooks", look);
    await page.getByRole("button", { name: "New endpoint" }).click();
    await page.getByLabel("All, also those of later versions").uncheck();
    return page;
  },
  attention: async (t, look) => {
    const page = await openRoom(t, "/admin/attention", look);
    await expectText(page.locator("#jobs"), "Webhook");
    return page;
  },
  docs: (t, look) => openReference(t, "/docs", look),
  "docs-operations": (t, look) => openReference(t, "/docs/holds-and-purchases", look),
  "docs-schemas": (t, look) => openReference(t, "/docs/schemas", look),
  "docs-search": async (t, look) => {
    const page = await openReference(t, "/docs", look);
    await page.fill("#query", "hold");
    await page.locator("#found a").first().waitFor();
    return page;
  },
  problems: (t, look) => openReference(t, "/problems", look),
  problem: (t, look) => openReference(t, "/problems/limit_reached", look),
  "sign-in": (t, look) => open(t, "/admin", look),
  absent: (t, look) => open(t, "/nonsense", { ...look, expected: [/404/] }),
  dashboard: async (t, look) => {
    const page = await openDashboard(t, look);
    await page.locator("sales-chart rect.sold").first().waitFor();
    await page.locator("event-log li").first().waitFor();
    return page;
  },
  "drop-room": async (t, look) => {
    const page = await openRoom(t, `/admin/drops/${drop.id}`, look);
    await page.locator("opening-chart rect").first().waitFor();
    await page.locator("#purchasers summary").click();
    await expectText(page.locator("#purchasers"), "Ada");
    return page;
  },
  "cancel-drop": async (t, look) => {
    const page = await openRoom(t, `/admin/drops/${drop.id}`, look);
    await page.getByRole("button", { name: "Cancel the drop" }).click();
    await page.getByRole("dialog").waitFor();
    return page;
  },
  "new-drop": async (t, look) => {
    const page = await openDashboard(t, look);
    await page.getByRole("button", { name: "New drop" }).click();
    await page.getByRole("dialog").waitFor();
    return page;
  },
};

/** Dialogs, and pages of the API reference, whose full pictures are by far the largest. */
const VIEWPORT_ONLY = [
  "new-drop",
  "cancel-drop",
  "refund",
  "new-endpoint",
  "docs-operations",
  "docs-schemas",
];

/** Opens a page of the API reference and waits until its script has run. */
async function openReference(t, path, look) {
  const page = await open(t, path, look);
  await page.locator("#search:not([hidden])").waitFor();
  return page;
}

for (const [name, make] of Object.entries(PAGES)) {
  test(`${name}, desktop: accessible in light and in dark`, async (t) => {
    const page = await make(t, { ...LOOKS.light, reducedMotion: "reduce" });
    await assertAccessible(page);
    await picture(page, `${name}-light`);
    // Only colours depend on the scheme, so that the page needs not be made again.
    await page.emulateMedia({ colorScheme: "dark" });
    await assertAccessible(page, ["color-contrast"]);
    await picture(page, `${name}-dark`);
  });

  test(`${name}, phone: accessible and within the window's width`, async (t) => {
    const page = await make(t, { ...LOOKS.phone, reducedMotion: "reduce" });
    await assertAccessible(page);
    await picture(page, `${name}-phone`);
  });

  /** Stores a screenshot, after an assertion that the page fits its window. */
  async function picture(page, file) {
    assert.ok(await fits(page), "the page is wider than the window");
    await page.evaluate(() => scrollTo(0, 0));
    const fullPage = !VIEWPORT_ONLY.includes(name);
    await page.screenshot({ path: join(OUT, `${file}.png`), fullPage });
  }
}

/**
 * Asserts that no rule of accessibility, or none of `rules`, is seriously violated. Only violations
 * are described: most of the time would go into selectors of the thousands of elements that passed.
 * The legacy mode is for pages without frames of other origins; the other one passes these
 * descriptions through a second page.
 */
async function assertAccessible(page, rules) {
  const axe = new AxeBuilder({ page }).options({ resultTypes: ["violations"] });
  if (rules) axe.withRules(rules);
  const { violations } = await axe.setLegacyMode().analyze();
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(
    serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]),
    [],
  );
}
