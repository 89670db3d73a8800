// What do pages do beyond what HTML does by itself? They copy code, and ask for words before what cannot be undone.
"use strict";
(() => {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    const code = button?.parentElement.querySelector("code");
    if (!code) return;
    const before = button.dataset.before ?? (button.dataset.before = button.firstChild.data);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.firstChild.data = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // no permission, or no TLS: what is selected is copied by hand
      button.firstChild.data = "Selected";
    }
    setTimeout(() => (button.firstChild.data = before), 2000);
  });

  const confirmed = (form) => {
    const input = form.elements.namedItem("confirm");
    for (const button of form.querySelectorAll("button[type=submit]")) {
      button.disabled = input.value.trim() !== form.dataset.confirm;
    }
  };
  document.addEventListener("input", (event) => {
    if (event.target.form?.dataset.confirm !== undefined) confirmed(event.target.form);
  });

  const begin = (part) => {
    for (const button of part.querySelectorAll("[data-copy]")) button.hidden = false;
    for (const form of part.querySelectorAll("form[data-confirm]")) confirmed(form);
  };
  begin(document);
})();
