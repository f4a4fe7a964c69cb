// Sets the theme that the visitor chose before anything is painted.
(() => {
  try {
    const chosen = localStorage.getItem("headframe-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* Without storage the system's theme holds. */ }
})();
