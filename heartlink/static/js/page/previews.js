/** Pictures of one's own that are here before the server has them: addresses of blobs, by client_id. */

const MOST_KEPT = 40;
const LOADS_WITHIN_MS = 1500;
const addresses = new Map();

/** @returns {string | null} */
export const previewOf = (clientId) => addresses.get(clientId) ?? null;

/** Keeps an address for as long as the page may show it. @returns {string} */
export function keepPreview(clientId, blob) {
  if (!addresses.has(clientId)) addresses.set(clientId, URL.createObjectURL(blob));
  for (const [oldest, address] of addresses) {
    if (addresses.size <= MOST_KEPT) break;
    URL.revokeObjectURL(address);
    addresses.delete(oldest);
  }
  return addresses.get(clientId);
}

/** @returns {Promise<{width: number, height: number} | null>} null: no picture that this browser knows, or not in time */
export async function measure(blob) {
  if (!blob.type.startsWith("image/")) return null;
  const address = URL.createObjectURL(blob);
  const picture = new Image();
  try {
    return await new Promise((resolve) => {
      setTimeout(resolve, LOADS_WITHIN_MS, null);
      picture.onerror = () => resolve(null);
      picture.onload = () => resolve({ width: picture.naturalWidth, height: picture.naturalHeight });
      picture.src = address;
    });
  } finally {
    URL.revokeObjectURL(address);
  }
}
