// In which colours does the reader want the pages? Loaded before the body, so that no page flashes in the other ones.
"use strict";
(() => {
  const KEY = "pushgateway-theme";
  const chosen = () => {
    try {
      return localStorage.getItem(KEY) ?? "";
    } catch {
      return ""; // a browser that keeps nothing
    }
  };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    const part = document.querySelector("[data-theme-switch]");
    const select = part?.querySelector("select");
    if (!select) return;
    select.value = document.documentElement.dataset.theme ?? "";
    part.hidden = false;
    select.addEventListener("change", () => {
      apply(select.value);
      try {
        if (select.value) localStorage.setItem(KEY, select.value);
        else localStorage.removeItem(KEY);
      } catch {
        // then the choice holds for this page
      }
    });
  });
})();
