"""The report: tables, figures and sentences, made from the result files alone."""
