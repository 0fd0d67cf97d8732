// What scrolls by itself can be focused, so that the keyboard scrolls it too; what fits is no stop on the way.
const scrolling = "pre, .table-wrapper, div.math, .cell_output .output, figure > a";
function mark() {
  for (const part of document.querySelectorAll(scrolling)) {
    if (part.scrollWidth > part.clientWidth + 1) part.tabIndex = 0;
    else if (part.tabIndex === 0 && part.tagName !== "A") part.removeAttribute("tabindex");
  }
}
addEventListener("DOMContentLoaded", () => new ResizeObserver(mark).observe(document.body));

// Two landmarks of one kind are told apart by their names.
addEventListener("DOMContentLoaded", () => {
  for (const [drawer, name] of [["sidebar", "All pages"], ["toc", "On this page"]])
    document.querySelector(`aside.${drawer}-drawer`)?.setAttribute("aria-label", name);
});
