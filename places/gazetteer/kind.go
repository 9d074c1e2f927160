package gazetteer

// kind has the properties that follow from the main type of a place.
type kind struct {
	weight   int64   // the population of an equally prominent town
	halfSide float64 // half the side of the viewport, in metres
}

// kinds by main type. point_of_interest is for ports and for types that are not listed.
var kinds = map[string]kind{
	"locality":          {1_000, 1_000},
	"neighborhood":      {8_000, 750},
	"airport":           {20_000, 2_000},
	"train_station":     {8_000, 150},
	"university":        {15_000, 500},
	"museum":            {15_000, 150},
	"art_gallery":       {8_000, 150},
	"park":              {10_000, 500},
	"zoo":               {15_000, 300},
	"aquarium":          {15_000, 150},
	"natural_feature":   {10_000, 2_000},
	"point_of_interest": {10_000, 500},
}

// class is one value of the types column. The file has about a dozen.
type class struct {
	types    []string
	locality bool
	kind
}
