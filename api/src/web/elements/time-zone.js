// Names the time zone of the times that the page shows: that of the browser.

import { timeZone } from "../lib/format.js";
import { text } from "../lib/text.js";

export class TimeZone extends HTMLElement {
  connectedCallback() {
    this.textContent = text("time.zone", { zone: timeZone() });
  }
}
customElements.define("time-zone", TimeZone);
