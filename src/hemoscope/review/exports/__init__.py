"""A slide's count as other programs and people take it: CSV, JSON, a page, FHIR, HL7, a labelled folder."""
