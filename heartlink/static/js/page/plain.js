/** Pages that only need the bar. */
import "./ui.js";
