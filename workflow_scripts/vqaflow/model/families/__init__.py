"""How families of models differ, one module each; nothing else that loads, trains or scores names a model class."""
