/** The doctor's page. */
import { ready } from "./ui.js";

ready();
