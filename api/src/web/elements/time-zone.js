// Names the time zone of the times that the page shows: that of the browser.

import { timeZone } from "../lib/format.js";

export class TimeZone extends HTMLElement {
  connectedCallback() {
    this.textContent = `Times are in ${timeZone()}.`;
  }
}
customElements.define("time-zone", TimeZone);
