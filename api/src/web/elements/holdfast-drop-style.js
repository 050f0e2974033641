// The style of <holdfast-drop>. A constructed sheet needs no permission of the page's content
// security policy.
//
// The fallbacks of `light-dark` are those of a browser without it: light.

const STYLE = `
:host {
  --paper: var(--holdfast-paper, #fffefb); --ink: var(--holdfast-ink, #1a211e);
  --quiet: var(--holdfast-quiet, #56605b); --line: var(--holdfast-line, #ddd9ce);
  --accent: var(--holdfast-accent, #0b6b50); --accent-ink: var(--holdfast-accent-ink, #ffffff);
  --alarm: var(--holdfast-alarm, #a3281c);
  display: block; max-width: 24rem; color: var(--ink); line-height: 1.5;
  font-family: var(--holdfast-font, inherit);
}
@supports (color: light-dark(#000, #fff)) {
  :host {
    --paper: var(--holdfast-paper, light-dark(#fffefb, #1b211e));
    --ink: var(--holdfast-ink, light-dark(#1a211e, #ecefe9));
    --quiet: var(--holdfast-quiet, light-dark(#56605b, #a9b4ae));
    --line: var(--holdfast-line, light-dark(#ddd9ce, #333c37));
    --accent: var(--holdfast-accent, light-dark(#0b6b50, #4cc79c));
    --accent-ink: var(--holdfast-accent-ink, light-dark(#ffffff, #06251a));
    --alarm: var(--holdfast-alarm, light-dark(#a3281c, #f5958a));
  }
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
.card {
  display: grid; gap: .75rem; padding: 1rem; background: var(--paper); overflow-wrap: anywhere;
  border: 1px solid var(--line); border-radius: var(--holdfast-radius, .75rem);
}
.picture { width: 100%; aspect-ratio: 8 / 5; object-fit: cover; border-radius: calc(var(--holdfast-radius, .75rem) / 2); }
.title { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; }
.name { font-size: 1.125em; font-weight: 650; line-height: 1.25; }
.price { font-weight: 650; white-space: nowrap; }
.price, .stock, .countdown { font-variant-numeric: tabular-nums; }
p { margin: 0; }
.status, .stock, .place { color: var(--quiet); }
.bar { height: .5rem; border-radius: 1rem; background: var(--line); overflow: hidden; }
.fill { height: 100%; width: var(--share, 0%); background: var(--accent); }
.actions { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.actions:focus { outline: none; }
button, input {
  font: inherit; min-height: 2.75rem; padding: .5rem 1rem; border-radius: calc(var(--holdfast-radius, .75rem) / 2);
  border: 1px solid var(--quiet); background: transparent; color: inherit;
}
button { font-weight: 600; cursor: pointer; }
button.primary { background: var(--accent); color: var(--accent-ink); border-color: transparent; flex: 1; }
[aria-busy] button, button[aria-disabled] { filter: saturate(.4) opacity(.75); cursor: default; }
input { width: 5rem; }
input.code { width: 11rem; flex: 1; }
button.secondary:only-of-type { flex: 1; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.message:empty { display: none; }
.message.refusal { color: var(--alarm); }
`;

export const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);
