// Accessibility of every page, as three devices show it. Stores a screenshot of each.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import {
  LOOKS,
  OUT,
  close,
  expectText,
  fillShop,
  fits,
  launch,
  open,
  openDashboard,
  openLive,
} from "./lib.mjs";

let drop;

before(async () => {
  await mkdir(OUT, { recursive: true });
  await launch();
  drop = await fillShop();
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
    await expectText(page.locator("drop-sheet .columns"), "Ada");
    return page;
  },
  docs: async (t, look) => {
    const page = await open(t, "/docs", look);
    await page.locator("#schema-Drop").waitFor();
    return page;
  },
  "sign-in": (t, look) => open(t, "/admin", look),
  absent: (t, look) => open(t, "/nonsense", { ...look, expected: [/404/] }),
  dashboard: async (t, look) => {
    const page = await openDashboard(t, look);
    await page.locator("sales-chart rect.sold").first().waitFor();
    await page.locator("event-log li").first().waitFor();
    return page;
  },
  "new-drop": async (t, look) => {
    const page = await openDashboard(t, look);
    await page.getByRole("button", { name: "New drop" }).click();
    await page.getByRole("dialog").waitFor();
    return page;
  },
};

for (const [name, make] of Object.entries(PAGES)) {
  for (const [look, options] of Object.entries(LOOKS)) {
    test(`${name}, ${look}: accessible and within the window's width`, async (t) => {
      const page = await make(t, { ...options, reducedMotion: "reduce" });
      const violations = await violationsOf(page);
      const serious = violations.filter(
        ({ impact }) => impact === "serious" || impact === "critical",
      );
      assert.deepEqual(
        serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]),
        [],
      );
      assert.ok(await fits(page), "the page is wider than the window");
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({
        path: join(OUT, `${name}-${look}.png`),
        fullPage: name !== "new-drop",
      });
    });
  }
}

/**
 * Checks a page for accessibility. Only violations are described: most of the time would go into
 * selectors of the thousands of elements that passed. The legacy mode is for pages without frames
 * of other origins; the other one passes these descriptions through a second page.
 */
async function violationsOf(page) {
  const axe = new AxeBuilder({ page }).options({ resultTypes: ["violations"] });
  return (await axe.setLegacyMode().analyze()).violations;
}
