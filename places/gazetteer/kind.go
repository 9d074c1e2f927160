package gazetteer

// kind is what is known of a place from its main type alone.
type kind struct {
	weight int64   // how prominent it is, as the population of an equally prominent town
	half   float64 // metres from its middle to the side of its viewport
}

// kinds by main type. That of point_of_interest is for ports, and for a type not named here.
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

// class is one value of the types column. The file has a dozen.
type class struct {
	types    []string
	locality bool
	kind
}
