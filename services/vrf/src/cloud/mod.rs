//! Deployment on the Google cloud: the HTTP trigger, its queue, and the recipe.
