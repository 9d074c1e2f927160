// The projection of the map: Mercator, with the world from 0 to 1 in both directions.

const LIMIT = 85.05112878; // degrees of latitude that the map shows

export const toX = (lon) => lon / 360 + 0.5;

export function toY(lat) {
  const sin = Math.sin((Math.max(-LIMIT, Math.min(LIMIT, lat)) * Math.PI) / 180);
  return 0.5 - Math.log((1 + sin) / (1 - sin)) / (4 * Math.PI);
}

// toLon keeps longitudes from -180 to 180, however often the map was dragged around the world.
export const toLon = (x) => (x - Math.floor(x) - 0.5) * 360;

export const toLat = (y) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;
