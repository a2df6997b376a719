/** Pages that only need the bar. */
import { ready } from "./ui.js";

ready();
